#!/bin/bash
# A Kubernetes cluster of three nodes on this machine that are instances of an OpenStack project, with Causeway making its load balancers there: a Service and an
# Ingress with floating IPs, reached from outside. Keystone, Neutron and Octavia are the real ones, started by the test bed, with Octavia's own haproxy.
#
#   demo-openstack.sh            leaves the cluster up
#   demo-openstack.sh --down     takes it down at the end
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/demo/common.sh
# What a client far from the cluster gets.
curl() { "$bed" exec remote -- curl --silent --show-error --max-time 5 "$@"; }
address_of() { kubectl get "$1" -o jsonpath='{.status.loadBalancer.ingress[0].ip}'; }
answers() { curl --fail "$@"; }

cluster

say "An OpenStack: a project with a network, the nodes as instances; 10 s, two minutes the first time"
type_in bed openstack up --provider-ids
bed openstack up --provider-ids >/dev/null

say "Causeway from deploy/: it finds the cloud by a cloud.conf, as openstack-cloud-controller-manager does"
folder=$(mktemp -d)
trap 'status=$?; rm -rf "$folder"; [ $status -eq 0 ] && [ -z "$down" ] || "$bed" down >/dev/null 2>&1 || true' EXIT
bed openstack print conf --inside >"$folder/cloud.conf"
cat "$folder/cloud.conf"
type_in kubectl -n kube-system create secret generic cloud-config --from-file=cloud.conf
kubectl -n kube-system create secret generic cloud-config --from-file="$folder/cloud.conf"
type_in kubectl apply --server-side -k deploy/kustomize/openstack
kubectl apply --server-side -k deploy/kustomize/openstack >/dev/null
kubectl -n kube-system rollout status deployment/causeway --timeout=90s || fail "the controller is not ready"

say "An application with a Service of type LoadBalancer and an Ingress of class causeway"
cat tests/manifests/hello-openstack.yaml
show kubectl apply -f tests/manifests/hello-openstack.yaml
kubectl rollout status deployment/hello --timeout=90s >/dev/null || fail "the application is not ready"
for object in service/hello ingress/hello; do
    kubectl wait "$object" --for=jsonpath='{.status.loadBalancer.ingress[0].ip}' --timeout=180s >/dev/null || fail "$object has no address"
done
show kubectl get services,ingresses
service=$(address_of service/hello)
ingress=$(address_of ingress/hello)

say "From a client outside: the floating IP of the Service leads to its load balancer, and that to a node with a Pod"
until_ok 120 answers "http://$service/hostname" >/dev/null || fail "$service does not answer"
show curl "http://$service/hostname"
echo

say "The load balancer of the Ingress leads by host and path; a header says who the client is; what no rule fits is 503, Octavia's way"
until_ok 120 answers --header "Host: shop.example" "http://$ingress/hostname" >/dev/null || fail "$ingress does not answer"
show curl --header "Host: shop.example" "http://$ingress/hostname"
echo
show curl --header "Host: shop.example" "http://$ingress/header?key=X-Forwarded-For"
echo
show curl --output /dev/null --write-out '%{http_code}\n' "http://$ingress/hostname"

say "What Octavia has, and what it took: calls to OpenStack, by action"
show bed openstack show
type_in bed openstack counts
bed openstack counts | sed -n 's/^ *"\(.*\)": {$/\1/p; s/^ *"calls": \([0-9]*\),$/\1/p' | paste -s -d '\t\n'

say "The Service goes, and nothing of it is left in the project"
show kubectl delete service hello --timeout=120s
gone() { ! "$bed" openstack show | grep -q "$service\|of nobody"; }
until_ok 60 gone || fail "something of $service is still there"
show bed openstack show

end_if_down
cat <<END

${bold}demo: every step worked. Go on as you like:${plain}
  export KUBECONFIG=$("$bed" kubeconfig) PATH=$(dirname "$bed"):\$PATH CAUSEWAY_BED=$CAUSEWAY_BED
  bed kubectl get services,ingresses            kubectl works too, from this shell
  bed openstack show                            load balancers, listeners, the states of members
  bed exec remote -- curl -s -H 'Host: shop.example' http://$ingress/hostname
  bed openstack fault '[{"calls": "*", "times": null, "rate": 0.2, "effect": {"error": {"code": "Gateway", "status": 503}}}]'
${bold}and take it down with${plain}
  $bed --name $CAUSEWAY_BED down
END
