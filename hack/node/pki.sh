#!/usr/bin/env bash
# Writes the certificates and kubeconfigs of the node: one authority for everything, for 30 days.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

cd "$state/pki"
exec 2>pki.log

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

# certificate NAME SUBJECT [ALTERNATIVE NAMES]
certificate() {
  key "$1"
  openssl req -new -key "$1.key" -subj "$2" |
    openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 30 -out "$1.crt" -extfile <(
      echo "keyUsage=critical,digitalSignature,keyEncipherment"
      echo "extendedKeyUsage=serverAuth,clientAuth"
      [[ -z ${3:-} ]] || echo "subjectAltName=$3"
    )
}

# kubeconfig NAME
kubeconfig() {
  cat >"$1.kubeconfig" <<YAML
apiVersion: v1
kind: Config
clusters: [{name: node, cluster: {server: "https://127.0.0.1:6443", certificate-authority: $PWD/ca.crt}}]
users: [{name: $1, user: {client-certificate: $PWD/$1.crt, client-key: $PWD/$1.key}}]
contexts: [{name: node, context: {cluster: node, user: $1}}]
current-context: node
YAML
}

key ca
openssl req -x509 -new -key ca.key -days 30 -subj /CN=node -out ca.crt \
  -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
certificate apiserver /CN=kube-apiserver \
  DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:localhost,IP:127.0.0.1,IP:198.19.0.1,IP:198.18.0.1
certificate apiserver-kubelet-client /O=system:masters/CN=apiserver-kubelet-client
certificate admin /O=system:masters/CN=admin
certificate kubelet /O=system:nodes/CN=system:node:node DNS:node,IP:198.18.0.1
certificate controller-manager /CN=system:kube-controller-manager
certificate scheduler /CN=system:kube-scheduler
certificate proxy /CN=system:kube-proxy
openssl genrsa -out service-accounts.key 2048
openssl rsa -in service-accounts.key -pubout -out service-accounts.pub
for user in admin kubelet controller-manager scheduler proxy; do kubeconfig "$user"; done
