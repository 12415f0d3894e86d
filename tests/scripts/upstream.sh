#!/bin/sh
# Upstream's LoadBalancer specs (kubernetes/test/e2e) against Causeway on a bed of three nodes.
#
#   upstream.sh [PROVIDER] fast     all that the provider can pass, but the two that watch a rolling update for 15 minutes each; on openstack, where a load balancer
#                                   takes Octavia seconds of work, those of them that show what others do not
#   upstream.sh [PROVIDER] slow     those two
#   upstream.sh [PROVIDER] all      everything
#
# PROVIDER is metal (what it is if none is named), aws or openstack: load balancers of the bed's AWS and OpenStack, over real traffic. Six specs run at a time: they wait
# more than they work.
#
# There are 17 specs. What cannot pass, by provider:
#
# metal: "switch session affinity ... with Local traffic policy" has a Pod on each node and wants one client to see several of them. With externalTrafficPolicy Local a
#   node serves its own Pods only, and on layer 2 one node announces an address. It takes a data plane that spreads over nodes, as the clouds' do.
# aws, openstack: "create LoadBalancer Service without NodePort" wants traffic where allocateLoadBalancerNodePorts is false. Load balancers of both clouds send to
#   nodes' ports; Causeway says so on the Service until it has one.
# aws: "preserve UDP traffic ..." (two specs) takes the status for an IP address. A load balancer of AWS has a host name, for which the specs ask their own machine.
# aws: "source ranges" is not passed yet. A plain Service's load balancer has no security group; the rules of the nodes' group are narrowed, and the bed's load balancer
#   does not follow that reliably.
# aws, openstack: "should work for type=LoadBalancer" and "should work from pods" look whether the VIP itself keeps clients' addresses, and skip themselves where load balancers are
#   proxies: where the status is a host name or ipMode is Proxy.
set -eu
top=$(cd "$(dirname "$0")/../.." && pwd)
cd "$top"
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/causeway/target}
export CARGO_TARGET_DIR
usage() { echo "usage: upstream.sh [metal | aws | openstack] fast | slow | all" >&2; exit 2; }
provider=metal
case ${1:-} in metal | aws | openstack) provider=$1; shift ;; esac
unported='without NodePort' of_vips='should work for type=LoadBalancer|should work from pods'
# How many pass with `fast`, and how many more with `all`.
case $provider in
metal) skip='switch session affinity for LoadBalancer service with Local' beside='' fast=14 more=2 ;;
aws) skip="$unported|preserve UDP traffic|source ranges" beside="|$of_vips" fast=9 more=2 ;;
openstack)
    skip=$unported fast=6 more=8
    beside="|$of_vips|session affinity work|affinity for LoadBalancer service with Cluster|target all nodes|cleanup finalizer|on the same nodes"
    ;;
esac
focus=LoadBalancers slow='rolling update'
case ${1:-} in
fast) skip="$skip|$slow$beside" expected=$fast ;;
slow) focus="LoadBalancers.*$slow" expected=2 ;;
all) expected=$((fast + more)) ;;
*) usage ;;
esac
[ $# -eq 1 ] || usage
CAUSEWAY_BED=upstream-$provider-$$
export CAUSEWAY_BED
images=${CAUSEWAY_BED_IMAGES:-$(tests/scripts/bed-image.sh | tail -1)}
cargo build --locked --quiet --package causeway-bed --bin bed
bed=$CARGO_TARGET_DIR/debug/bed
# Built before the bed is up: building beside a running cluster makes its clocks late.
tests/bed/controlplane/build.sh e2e >/dev/null
[ -f "$images" ] || { echo "the image for the bed was not built" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"; "$bed" down >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT TERM
kubectl() { "$bed" kubectl "$@"; }
ready() { kubectl -n kube-system rollout status "$1" --timeout=90s; }

"$bed" up --nodes 3 --ipv4-only --images "$images" >/dev/null
case $provider in
metal)
    kubectl apply --server-side -k deploy/kustomize/metal >/dev/null
    kubectl apply --server-side -f tests/manifests/pool.yaml >/dev/null
    ready daemonset/causeway-speaker
    ;;
aws)
    # Two nodes of the control plane for the two replicas; the specs want a worker as well.
    kubectl label nodes node1 node2 node-role.kubernetes.io/control-plane= >/dev/null
    "$bed" aws up --provider-ids >/dev/null
    eval "$("$bed" aws env --inside)"
    cat >"$work/kustomization.yaml" <<END
resources: [$(realpath --relative-to="$work" deploy/kustomize/aws-self-managed)]
patches:
  - target: {kind: Deployment, name: causeway}
    patch: |-
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --own-classless}
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --cluster-name=bed}
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --aws-vpc-id=$BED_VPC}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: AWS_ENDPOINT_URL, value: "$AWS_ENDPOINT_URL"}}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: AWS_REGION, value: "$AWS_REGION"}}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: AWS_ACCESS_KEY_ID, value: "$AWS_ACCESS_KEY_ID"}}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: AWS_SECRET_ACCESS_KEY, value: "$AWS_SECRET_ACCESS_KEY"}}
END
    kubectl apply --server-side -k "$work" >/dev/null
    ;;
openstack)
    "$bed" openstack up --provider-ids >/dev/null
    "$bed" openstack print conf --inside >"$work/cloud.conf"
    kubectl -n kube-system create secret generic cloud-config --from-file="$work/cloud.conf" >/dev/null
    kubectl apply --server-side -k deploy/kustomize/openstack >/dev/null
    ;;
esac
ready deployment/causeway
set -- --focus "$focus" --side-by-side 6
[ "$focus" != LoadBalancers ] || set -- "$@" --skip "$skip"
"$bed" e2e "$@" >"$work/table" || true
cat "$work/table"
passed=$(grep -c '^passed ' "$work/table" || true)
# A spec that did not run has not passed.
failed=$((expected - passed))
[ "$failed" -le 0 ] || kubectl -n kube-system logs deployment/causeway --tail=40 || true
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
