#!/bin/bash
# A Kubernetes cluster of three nodes on this machine, with Causeway as its load balancer: shows that it works, and leaves it for playing.
# The cluster lives in network namespaces and vanishes with `bed down`.
#
#   demo.sh            leaves the cluster up
#   demo.sh --down     takes it down at the end
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/demo/common.sh
address_of() { kubectl get service "$1" -o jsonpath='{.status.loadBalancer.ingress[0].ip}'; }
# The node whose network card answers for an address: the last byte of its MAC address is its number.
announcer() {
    local mac
    mac=$("$bed" exec client -- ip neigh show "$1" | sed -n 's/.*lladdr \([0-9a-f:]*\).*/\1/p')
    [ -n "$mac" ] || return 1
    echo "node$((16#${mac##*:}))"
}
now_answers() { [ "$(announcer "$1" || true)" != "$2" ] && curl "http://$1/hostname" >/dev/null; }

cluster

say "Causeway from deploy/, the same manifests as for a real cluster: a controller (two replicas) and a speaker on every node"
type_in kubectl apply --server-side -k deploy/kustomize/metal
kubectl apply --server-side -k deploy/kustomize/metal >/dev/null
kubectl -n kube-system rollout status deployment/causeway --timeout=60s || fail "the controller is not ready"
kubectl -n kube-system rollout status daemonset/causeway-speaker --timeout=60s || fail "the speakers are not ready"
show kubectl -n kube-system get pods -o wide

say "Addresses that may be given out, announced by ARP"
cat tests/manifests/pool.yaml
show kubectl apply -f tests/manifests/pool.yaml

say "A sample application with two Services of type LoadBalancer"
show kubectl apply -f tests/manifests/hello.yaml
for service in hello hello-local; do
    kubectl wait "service/$service" --for=jsonpath='{.status.loadBalancer.ingress[0].ip}' --timeout=30s >/dev/null ||
        fail "service $service has no address"
done
kubectl rollout status deployment/hello --timeout=60s >/dev/null || fail "the application is not ready"
show kubectl get services
cluster=$(address_of hello)
local=$(address_of hello-local)

say "From a client outside of the cluster (10.77.0.100)"
until_ok 15 curl "http://$cluster/hostname" >/dev/null || fail "$cluster does not answer"
until_ok 15 curl "http://$local/hostname" >/dev/null || fail "$local does not answer"
echo "externalTrafficPolicy Cluster: any node may pass the connection on, so the application sees a node in the client's place"
show curl "http://$cluster/clientip"
echo
echo "externalTrafficPolicy Local: the node that answers serves it itself, so the application sees the client's own"
show curl "http://$local/clientip"
echo
seen=$(curl "http://$local/clientip")
[ "${seen%:*}" = 10.77.0.100 ] || fail "the application saw $seen, not the client's address"

say "Who answers for $local? The client's neighbour table knows: a MAC address that ends in the node's number"
show bed exec client -- ip neigh show "$local"
node=$(announcer "$local") || fail "the client has no neighbour $local"

say "The power of $node fails: nothing it sends leaves it, its link stays up"
before=$(milliseconds)
show bed cut "$node"
until_ok 30 now_answers "$local" "$node" || fail "$local did not come back"
after=$(milliseconds)
other=$(announcer "$local")
show curl "http://$local/hostname"
printf '\nAfter %d.%01d s %s answers for %s.\n' $(((after - before) / 1000)) $(((after - before) % 1000 / 100)) "$other" "$local"

say "The power comes back"
show bed restore "$node"
until_ok 20 curl "http://$local/hostname" >/dev/null || fail "$local does not answer any more"
show kubectl get services

end_if_down
cat <<END

${bold}demo: every step worked. Go on as you like:${plain}
  export KUBECONFIG=$("$bed" kubeconfig) PATH=$(dirname "$bed"):\$PATH CAUSEWAY_BED=$CAUSEWAY_BED
  bed kubectl get services                      kubectl works too, from this shell
  bed kubectl describe service hello            its Events say who did what
  bed exec client -- curl -s http://$local/     from the client outside
  bed cut node1; bed restore node1              bed --help lists more ways to break it
${bold}and take it down with${plain}
  $bed --name $CAUSEWAY_BED down
END
