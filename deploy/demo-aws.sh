#!/bin/bash
# A Kubernetes cluster of three nodes on this machine that takes them for instances of an AWS account, with Causeway making its load balancers there: a Service and an
# Ingress that are reached from outside. The AWS is the test bed's: it answers as AWS's API does, and its load balancers carry real traffic.
#
#   demo-aws.sh            leaves the cluster up
#   demo-aws.sh --down     takes it down at the end
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/demo/common.sh
# What a client far from the cluster gets.
curl() { "$bed" exec remote -- curl --silent --show-error --max-time 3 "$@"; }
host_of() { kubectl get "$1" -o jsonpath='{.status.loadBalancer.ingress[0].hostname}'; }
answers() { curl --fail "$@"; }

cluster

say "An AWS: a VPC, three subnets, the nodes as instances"
type_in bed aws up --provider-ids
bed aws up --provider-ids >/dev/null
eval "$("$bed" aws env --inside)"
overlay=$(mktemp -d)
trap 'status=$?; rm -rf "$overlay"; [ $status -eq 0 ] && [ -z "$down" ] || "$bed" down >/dev/null 2>&1 || true' EXIT

say "Causeway from deploy/, by an overlay of one's own: here it says where the bed's AWS is"
cat >"$overlay/kustomization.yaml" <<END
resources: [$(realpath --relative-to="$overlay" deploy/kustomize/aws-eks)]
patches:
  - target: {kind: Deployment, name: causeway}
    patch: |-
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --cluster-name=bed}
      - {op: add, path: /spec/template/spec/containers/0/args/-, value: --aws-vpc-id=$BED_VPC}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: AWS_ENDPOINT_URL, value: "$AWS_ENDPOINT_URL"}}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: AWS_REGION, value: "$AWS_REGION"}}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: AWS_ACCESS_KEY_ID, value: "$AWS_ACCESS_KEY_ID"}}
      - {op: add, path: /spec/template/spec/containers/0/env/-, value: {name: AWS_SECRET_ACCESS_KEY, value: "$AWS_SECRET_ACCESS_KEY"}}
END
cat "$overlay/kustomization.yaml"
type_in kubectl apply --server-side -k .
kubectl apply --server-side -k "$overlay" >/dev/null
kubectl -n kube-system rollout status deployment/causeway --timeout=90s || fail "the controller is not ready"

say "An application with a Service of class service.k8s.aws/nlb and an Ingress of class causeway"
cat tests/manifests/hello-aws.yaml
show kubectl apply -f tests/manifests/hello-aws.yaml
kubectl rollout status deployment/hello --timeout=90s >/dev/null || fail "the application is not ready"
for object in service/hello ingress/hello; do
    kubectl wait "$object" --for=jsonpath='{.status.loadBalancer.ingress[0].hostname}' --timeout=120s >/dev/null ||
        fail "$object has no host name"
done
show kubectl get services,ingresses
service=$(host_of service/hello)
ingress=$(host_of ingress/hello)

say "From a client outside: the Network Load Balancer keeps the client's address"
until_ok 120 answers "http://$service/hostname" >/dev/null || fail "$service does not answer"
show curl "http://$service/hostname"
echo
show curl "http://$service/clientip"
echo

say "The Application Load Balancer leads by host and path; what no rule fits is 404"
until_ok 120 answers --header "Host: shop.example" "http://$ingress/hostname" >/dev/null || fail "$ingress does not answer"
show curl --header "Host: shop.example" "http://$ingress/hostname"
echo
show curl --output /dev/null --write-out '%{http_code}\n' "http://$ingress/hostname"

say "What it took: calls to AWS, by action"
show bed aws counts

say "The Service goes, and nothing of it is left in the account"
show kubectl delete service hello --timeout=90s
gone() { ! "$bed" aws hosts | grep -q "$service"; }
until_ok 60 gone || fail "$service is still there"
show bed aws hosts

end_if_down
cat <<END

${bold}demo: every step worked. Go on as you like:${plain}
  export KUBECONFIG=$("$bed" kubeconfig) PATH=$(dirname "$bed"):\$PATH CAUSEWAY_BED=$CAUSEWAY_BED
  bed kubectl get services,ingresses            kubectl works too, from this shell
  bed aws status                                load balancers, listeners, the states of targets
  bed exec remote -- curl -s -H 'Host: shop.example' http://$ingress/hostname
  bed aws fault '[{"calls": "*", "times": null, "rate": 0.2, "effect": {"error": {"code": "Throttling", "status": 400}}}]'
${bold}and take it down with${plain}
  $bed --name $CAUSEWAY_BED down
END
