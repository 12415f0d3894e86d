#!/bin/sh
# Starts a control plane and one node in namespaces of its own and shows that Pods run as they should: Deployment, exec, logs,
# read-only root, capabilities, volumes, termination, restarts. Nothing is left afterwards. Needs root, nftables and conntrack.
#
#   smoke.sh [FOLDER]     FOLDER holds the programs; default: what build.sh makes
set -eu
here=$(cd "$(dirname "$0")" && pwd)
if [ "${SMOKE_INSIDE:-}" = "" ]; then
    for tool in nft conntrack ip unshare openssl; do
        command -v $tool >/dev/null || { echo "smoke: $tool is missing: apt-get install nftables conntrack iproute2 util-linux openssl" >&2; exit 1; }
    done
    programs=${1:-$("$here/build.sh")}
    exec env SMOKE_INSIDE=1 unshare --net --pid --mount --mount-proc --fork --kill-child --propagation private "$0" "$programs"
fi

programs=$1
export PATH="$programs:$PATH"
mount -t tmpfs tmpfs /run
mkdir /run/bed /run/netns
cd /run/bed
failed() {
    echo "smoke: FAILED: $*" >&2
    tail -n 20 /run/bed/*.log >&2
    exit 1
}

# --- certificates -----------------------------------------------------------------------------------------------------
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=bed -keyout ca.key -out ca.crt 2>/dev/null
certificate() { # NAME SUBJECT [ALTERNATIVE NAMES]
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "$2" -keyout "$1.key" -out "$1.csr" 2>/dev/null
    printf 'extendedKeyUsage=serverAuth,clientAuth\n%s\n' "${3:+subjectAltName=$3}" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile "$1.ext" -out "$1.crt" 2>/dev/null
}
certificate apiserver /CN=kube-apiserver IP:127.0.0.1,IP:10.77.0.2,IP:10.96.0.1,DNS:kubernetes.default.svc
certificate admin /O=system:masters/CN=admin
certificate kcm /CN=system:kube-controller-manager
certificate scheduler /CN=system:kube-scheduler
certificate proxy /CN=system:kube-proxy
certificate node1 /O=system:masters/CN=node1 IP:10.77.0.11
openssl genrsa -out sa.key 2048 2>/dev/null
config() { # NAME
    kubectl config --kubeconfig="$1.conf" set-cluster bed --server=https://10.77.0.2:6443 --certificate-authority=/run/bed/ca.crt
    kubectl config --kubeconfig="$1.conf" set-credentials me --client-certificate="/run/bed/$1.crt" --client-key="/run/bed/$1.key"
    kubectl config --kubeconfig="$1.conf" set-context bed --cluster=bed --user=me
    kubectl config --kubeconfig="$1.conf" use-context bed
}
for who in admin kcm scheduler proxy node1; do config $who >/dev/null; done
export KUBECONFIG=/run/bed/admin.conf

# --- network: this namespace is the segment and the control plane, node1 the node -------------------------------------
ip link set lo up
ip link add lan type bridge
ip addr add 10.77.0.2/24 dev lan
ip addr add fd77::2/64 dev lan nodad
ip link set lan up
ip netns add node1
ip link add node1 type veth peer name eth0 netns node1
ip link set node1 master lan up
ip -n node1 addr add 10.77.0.11/24 dev eth0
ip -n node1 addr add fd77::11/64 dev eth0 nodad
ip -n node1 link set lo up
ip -n node1 link set eth0 up
ip -n node1 route add default via 10.77.0.2
ip -n node1 -6 route add default via fd77::2
ip route add 10.244.1.0/24 via 10.77.0.11
ip -6 route add fd00:10:244:1::/64 via fd77::11
in_node() { nsenter --net=/run/netns/node1 "$@"; }

# --- control plane ----------------------------------------------------------------------------------------------------
until_true() { # SECONDS WHAT COMMAND...
    end=$(($(date +%s) + $1)); what=$2; shift 2
    until "$@" >/run/bed/last 2>&1; do
        [ "$(date +%s)" -lt "$end" ] || failed "$what: $(tail -n 5 /run/bed/last)"
        sleep 0.1
    done
}
etcd --data-dir=/run/bed/etcd --unsafe-no-fsync --log-level=error >etcd.log 2>&1 &
kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=10.77.0.2 --advertise-address=10.77.0.2 --secure-port=6443 \
    --tls-cert-file=apiserver.crt --tls-private-key-file=apiserver.key --client-ca-file=ca.crt \
    --kubelet-client-certificate=admin.crt --kubelet-client-key=admin.key --kubelet-certificate-authority=ca.crt \
    --kubelet-preferred-address-types=InternalIP --service-account-issuer=https://kubernetes.default.svc \
    --service-account-key-file=sa.key --service-account-signing-key-file=sa.key --service-cluster-ip-range=10.96.0.0/16,fd00:10:96::/112 \
    --authorization-mode=RBAC --allow-privileged=true >apiserver.log 2>&1 &
until_true 60 "API server" kubectl get --raw /readyz
kube-controller-manager --kubeconfig=kcm.conf --authentication-kubeconfig=kcm.conf --authorization-kubeconfig=kcm.conf --leader-elect=false \
    --service-account-private-key-file=sa.key --root-ca-file=ca.crt --use-service-account-credentials=true \
    --controllers='*,-node-ipam-controller,-cloud-node-lifecycle-controller,-service-lb-controller,-node-route-controller' >kcm.log 2>&1 &
kube-scheduler --kubeconfig=scheduler.conf --authentication-kubeconfig=scheduler.conf --authorization-kubeconfig=scheduler.conf \
    --leader-elect=false >scheduler.log 2>&1 &

# --- the node ---------------------------------------------------------------------------------------------------------
cat >images.json <<END
[
  {"match": "/agnhost:", "rootfs": "host", "command": ["/agnhost"], "args": ["pause"], "binds": {"/agnhost": "$programs/agnhost"}},
  {"match": "^bare", "rootfs": "/run/bed/bare", "command": ["/agnhost"], "args": ["pause"], "user": 65532, "group": 65532}
]
END
mkdir bare
cp "$programs/agnhost" bare/
echo "10.77.0.2 segment.bed" >hosts
start_agent() {
    in_node node-agent --kubeconfig=node1.conf --node-name=node1 --node-ips=10.77.0.11,fd77::11 \
        --pod-cidrs=10.244.1.0/24,fd00:10:244:1::/64 --images=images.json --state-dir=/run/bed/node1 --hosts-file=hosts \
        --server-cert=node1.crt --server-key=node1.key --client-ca=ca.crt --labels=zone=a,rack=1 >>agent.log 2>&1 &
    agent=$!
}
start_agent
in_node kube-proxy --kubeconfig=proxy.conf --hostname-override=node1 --proxy-mode=nftables --cluster-cidr=10.244.0.0/16,fd00:10:244::/48 \
    --detect-local-mode=ClusterCIDR --healthz-bind-address=0.0.0.0:10256 --conntrack-max-per-core=0 --conntrack-tcp-timeout-established=0 \
    --conntrack-tcp-timeout-close-wait=0 --oom-score-adj=0 >proxy.log 2>&1 &
until_true 60 "node ready" kubectl wait --for=condition=Ready node/node1 --timeout=1s
until_true 60 "node free of taints" sh -c '! kubectl get node node1 -o jsonpath="{.spec.taints}" | grep -q not-ready'
until_true 60 "service account" kubectl get serviceaccount default
echo "smoke: node is ready"

# --- pods -------------------------------------------------------------------------------------------------------------
image=registry.k8s.io/e2e-test-images/agnhost:2.57
cat >pods.yaml <<END
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: $image
        args: [netexec, --http-port=8080]
        readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}], ipFamilyPolicy: PreferDualStack}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {key: first}
---
apiVersion: v1
kind: Pod
metadata: {name: tight, labels: {app: tight}}
spec:
  hostAliases: [{ip: 192.0.2.1, hostnames: [alias.test]}]
  initContainers:
  - {name: init, image: $image, command: [sh, -c, 'echo from-init > /shared/file'], volumeMounts: [{name: shared, mountPath: /shared}]}
  containers:
  - name: tight
    image: $image
    command: [sh, -c, 'echo started as \$(id -u); trap "echo got TERM; exit 3" TERM; while :; do sleep 0.1; done']
    env: [{name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}, {name: KEY, valueFrom: {configMapKeyRef: {name: settings, key: key}}}]
    securityContext:
      runAsUser: 1234
      runAsNonRoot: true
      readOnlyRootFilesystem: true
      allowPrivilegeEscalation: false
      capabilities: {drop: [ALL], add: [NET_RAW]}
    volumeMounts: [{name: shared, mountPath: /shared}, {name: settings, mountPath: /settings}]
  - name: root
    image: $image
    args: [pause]
    securityContext: {capabilities: {drop: [ALL], add: [NET_RAW, NET_BIND_SERVICE]}}
  volumes: [{name: shared, emptyDir: {}}, {name: settings, configMap: {name: settings}}]
---
apiVersion: v1
kind: Pod
metadata: {name: bare}
spec:
  hostNetwork: true
  containers:
  - {name: bare, image: bare:1, args: [netexec, --http-port=8090, --udp-port=8091], securityContext: {readOnlyRootFilesystem: true, runAsNonRoot: true}}
---
apiVersion: v1
kind: Pod
metadata: {name: unknown}
spec: {containers: [{name: unknown, image: example.org/nothing:1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: crash}
spec: {containers: [{name: crash, image: $image, command: [sh, -c, 'echo crashing; exit 7']}]}
END
kubectl apply -f pods.yaml >/dev/null
started=$(date +%s%N)
until_true 60 "Deployment available" kubectl wait --for=condition=Available deployment/web --timeout=1s
echo "smoke: 2 replicas available after $((($(date +%s%N) - started) / 1000000)) ms"
until_true 60 "pod tight" kubectl wait --for=condition=Ready pod/tight --timeout=1s
until_true 60 "pod bare" kubectl wait --for=condition=Ready pod/bare --timeout=1s

expect() { # WHAT WANTED COMMAND...
    what=$1; wanted=$2; shift 2
    got=$("$@" 2>&1) || true
    case $got in
    *"$wanted"*) echo "smoke: ok: $what" ;;
    *) failed "$what: wanted \"$wanted\", got \"$got\"" ;;
    esac
}
tight() { kubectl exec tight -c tight -- "$@"; }
expect "exec runs as the container's user" 1234 tight id -u
expect "root is read-only" "Read-only file system" tight touch /file
expect "no capability reaches a user who is not root" "CapEff:	0000000000000000" tight cat /proc/self/status
expect "no_new_privs" "NoNewPrivs:	1" tight cat /proc/self/status
expect "the bounding set is what was added" "CapBnd:	0000000000002000" tight cat /proc/self/status
expect "root has what was added and no more" "CapEff:	0000000000002400" kubectl exec tight -c root -- cat /proc/self/status
expect "kernel settings are read-only" "Read-only file system" kubectl exec tight -c root -- sh -c 'echo 1 > /proc/sys/vm/overcommit_memory'
expect "init container ran first" from-init tight cat /shared/file
expect "downward API" 10.244.1. tight printenv IP
expect "ConfigMap in the environment" first tight printenv KEY
expect "ConfigMap volume" first tight cat /settings/key
expect "service account token" ey tight cat /var/run/secrets/kubernetes.io/serviceaccount/token
expect "host alias" 192.0.2.1 tight cat /etc/hosts
expect "processes of others are invisible" "no" tight sh -c 'ls /proc | grep -c "^[0-9]" | { read n; [ "$n" -lt 8 ] && echo no; }'
expect "logs" "started as 1234" kubectl logs tight -c tight
expect "exit code of exec" "exit code 5" tight sh -c 'exit 5'
expect "stdin of exec" piped sh -c 'echo piped | kubectl exec -i tight -c root -- cat'
expect "terminal of exec" "/dev/pts" script -qec "kubectl exec -it tight -c root -- sh -c 'ls -l /proc/self/fd/0'" /dev/null
expect "Service by name and kube-proxy" NOW kubectl exec tight -c root -- sh -c 'wget -qO- http://web/ || curl -s http://web/'
expect "Service from IPv6" NOW kubectl exec tight -c root -- curl -gs "http://[$(kubectl get service web -o jsonpath='{.spec.clusterIPs[1]}')]/"
expect "names given by hand" 10.77.0.2 kubectl exec tight -c root -- getent hosts segment.bed
expect "pods reach the API server" "403" kubectl exec tight -c root -- curl -sk -o /dev/null -w '%{http_code}' https://kubernetes.default.svc/api
expect "hostNetwork pod of a bare image" NOW curl -s http://10.77.0.11:8090/
until_true 30 "unknown image is reported" sh -c 'kubectl get pod unknown -o jsonpath="{.status.containerStatuses[0].state.waiting.reason}" | grep -E "ErrImagePull|ImagePullBackOff"'
expect "unknown image is explained" "nothing here downloads images" kubectl get events --field-selector involvedObject.name=unknown
until_true 30 "crash restarts" sh -c '[ "$(kubectl get pod crash -o jsonpath="{.status.containerStatuses[0].restartCount}")" -ge 2 ]'
expect "exit code in the status" 7 kubectl get pod crash -o jsonpath='{.status.containerStatuses[0].lastState.terminated.exitCode}'
expect "previous logs" crashing kubectl logs --previous crash
kubectl patch configmap settings -p '{"data":{"key":"second"}}' >/dev/null
until_true 60 "ConfigMap volume follows" sh -c 'kubectl exec tight -c tight -- grep second /settings/key'
kubectl logs -f tight -c tight >follow.log 2>&1 &
follower=$!
kubectl delete pod tight --wait=false >/dev/null
wait $follower || true
expect "SIGTERM before SIGKILL, and logs follow" "got TERM" cat follow.log
until_true 40 "pod gone" sh -c '! kubectl get pod tight'

started=$(date +%s%N)
kubectl scale deployment/web --replicas=18 >/dev/null
until_true 60 "18 replicas" sh -c '[ "$(kubectl get deployment web -o jsonpath="{.status.readyReplicas}")" = 18 ]'
echo "smoke: 18 replicas ready after $((($(date +%s%N) - started) / 1000000)) ms"

# A killed agent leaves no process behind; another one starts over.
pod=$(pgrep -f 'agnhost netexec --http-port=8080' | head -1)
kill -9 "$(pgrep -x node-agent | head -1)"
until_true 5 "pods die with the agent" sh -c "! kill -0 $pod"
wait $agent 2>/dev/null || true
start_agent
until_true 60 "pods run again" sh -c '[ "$(pgrep -fc "[/]agnhost netexec --http-port=8080")" = 18 ] &&
    [ "$(kubectl get deployment web -o jsonpath="{.status.readyReplicas}")" = 18 ]'
kill "$(pgrep -x node-agent | head -1)"
until_true 10 "SIGTERM of the agent ends its pods" sh -c '! pgrep -f "[/]agnhost netexec"'

hollow-nodes --kubeconfig=admin.conf --count=200 --lease-interval=1s --status-interval=2s --cleanup >hollow.log 2>&1 &
hollow=$!
until_true 60 "hollow nodes" grep -q "created 200 nodes" hollow.log
expect "hollow nodes" "200" sh -c 'kubectl get nodes -l causeway.io/hollow --no-headers | grep -cw Ready'
echo "smoke: $(grep created hollow.log), $(kubectl get node hollow-7 -o json | wc -c) bytes of indented JSON each"
first=$(kubectl -n kube-node-lease get lease hollow-7 -o jsonpath='{.spec.renewTime}')
beat=$(kubectl get node hollow-7 -o jsonpath='{.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}')
until_true 20 "hollow leases are renewed" sh -c "! kubectl -n kube-node-lease get lease hollow-7 -o jsonpath='{.spec.renewTime}' | grep -qF '$first'"
until_true 20 "hollow nodes report" sh -c "! kubectl get node hollow-7 -o jsonpath='{.status.conditions[?(@.type==\"Ready\")].lastHeartbeatTime}' | grep -qF '$beat'"
kill $hollow
wait $hollow || failed "hollow-nodes ended with an error"
expect "hollow nodes are deleted" "No resources" kubectl get nodes -l causeway.io/hollow
echo "smoke: PASSED"
