#!/usr/bin/env bash
# The node's first process, in namespaces of its own: it sets up mounts and the network, starts the programs, and reaps. When it ends, everything in
# the node ends. up.sh starts it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# /proc is still the machine's here, which knows this process by its id on the machine.
readlink /proc/self/ns/{net,mnt,pid} >"$state/namespaces"
read -r pid _ </proc/self/stat
for hierarchy in "${hierarchies[@]}"; do
  group=/sys/fs/cgroup/$hierarchy/$cgroup
  if [[ -d $group ]]; then
    if [[ $hierarchy == cpuset ]]; then for file in cpus mems; do cat "$group/cpuset.$file" >"$group/system/cpuset.$file"; done; fi
    echo 0 >"$group/system/cgroup.procs"
  fi
done
echo "$pid $(started "$pid")" >"$state/init"
set -x

# The machine's files cannot be changed from here, but for the node's own folder and /tmp. Mounts of pods have to be seen by containers.
mount --make-rshared /
mount --bind "$state" "$state"
mount --bind /tmp /tmp
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mount --bind "$state/log" /var/log
mount -t overlay overlay -o "lowerdir=$bin/node/debian/usr:/usr" /usr
mount -o remount,bind,ro /
for folder in etcd kubelet containerd cni; do
  mkdir "/var/lib/$folder"
  mount --bind "$state/$folder" "/var/lib/$folder"
done

# The configurations name files of this machine.
etc=$state/etc
pki=$state/pki
mkdir "$etc" "$pki"
for file in "$here"/etc/*; do
  sed "s|BIN|$bin/node|; s|STATE|$state|; s|CGROUP|$cgroup|" "$file" >"$etc/$(basename "$file")"
done
# The node has no name server, and pods have none.
touch "$etc/resolv.conf"
"$here/pki.sh"

# What the kubelet would set for the whole machine goes into files of the same names.
sysctl() {
  local file=$state/sysctl/$1
  mkdir -p "$(dirname "$file")"
  echo "$2" >"$file"
  mount --bind "$file" "/proc/sys/$1"
}
sysctl vm/overcommit_memory 1
sysctl vm/panic_on_oom 0
sysctl kernel/panic 10
sysctl kernel/panic_on_oops 1
sysctl kernel/keys/root_maxkeys 1000000
sysctl kernel/keys/root_maxbytes 25000000

# The node has one address, and a default route that leads nowhere: without a route, the address of a Service would be unreachable before
# kube-proxy's rules are asked.
hostname node
ip link set lo up
ip link add node0 type veth peer name node1
ip addr add 198.18.0.1/24 dev node0
ip link set node0 up
ip link set node1 up
ip route add default dev node0
echo 1 >/proc/sys/net/ipv4/ip_forward

export PATH=$bin/node:$bin/k8s:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin TMPDIR=$state/tmp
start() { "$@" >>"/var/log/$(basename "$1").log" 2>&1 </dev/null & }

start containerd --config "$etc/containerd.toml"
start etcd --data-dir /var/lib/etcd --unsafe-no-fsync
start kube-apiserver \
  --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range=198.19.0.0/24 --advertise-address=198.18.0.1 --secure-port=6443 \
  --client-ca-file="$pki/ca.crt" --tls-cert-file="$pki/apiserver.crt" --tls-private-key-file="$pki/apiserver.key" --cert-dir="$pki" \
  --service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$pki/service-accounts.pub" \
  --service-account-signing-key-file="$pki/service-accounts.key" \
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --allow-privileged=true \
  --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" --kubelet-client-key="$pki/apiserver-kubelet-client.key" \
  --kubelet-certificate-authority="$pki/ca.crt" --kubelet-preferred-address-types=InternalIP
set +x
until kubectl --kubeconfig "$pki/admin.kubeconfig" get --raw /readyz >/dev/null 2>&1; do sleep 0.2; done
set -x
start kube-controller-manager --kubeconfig="$pki/controller-manager.kubeconfig" --leader-elect=false \
  --service-account-private-key-file="$pki/service-accounts.key" --root-ca-file="$pki/ca.crt" --use-service-account-credentials=true \
  --allocate-node-cidrs=false --flex-volume-plugin-dir=/var/lib/kubelet/volume-plugins --bind-address=127.0.0.1 --cluster-signing-cert-file="$pki/ca.crt" --cluster-signing-key-file="$pki/ca.key"
start kube-scheduler --kubeconfig="$pki/scheduler.kubeconfig" --leader-elect=false --bind-address=127.0.0.1
start kubelet --config="$etc/kubelet.yaml" --kubeconfig="$pki/kubelet.kubeconfig" --cert-dir=/var/lib/kubelet/pki \
  --hostname-override=node --node-ip=198.18.0.1
start kube-proxy --config="$etc/kube-proxy.yaml"
set +x

# Meanwhile bash reaps the processes that lose their parent. A node without one of its programs is of no use.
wait -n -p ended || true
echo "the program with the process id $ended ended, and so does the node"
