#!/bin/sh
# Makes the certificates of the laboratory's servers in the folder $1. Each file is a chain with its
# key, as haproxy and nginx read it. Their sizes are those of the real internet: a server's first
# flight has 3 kB with rsa.pem, 2 kB with ecdsa.pem, and 0.8 kB with tiny.pem.
set -eu
cd "$1"
days=3650

cat > authority.ext <<'EOF'
basicConstraints = critical, CA:TRUE, pathlen:0
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
authorityInfoAccess = OCSP;URI:http://ocsp.authority.example/1, caIssuers;URI:http://certificates.authority.example/1.crt
crlDistributionPoints = URI:http://lists.authority.example/1.crl
certificatePolicies = 2.23.140.1.2.1
EOF
# Real certificates hold signed timestamps of two logs (RFC 6962), about 240 bytes.
timestamps=$(openssl rand -hex 240 | sed 's/../&:/g; s/:$//')
cat > server.ext <<EOF
basicConstraints = CA:FALSE
keyUsage = critical, digitalSignature, keyEncipherment
extendedKeyUsage = serverAuth, clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
authorityInfoAccess = OCSP;URI:http://ocsp.authority.example/1, caIssuers;URI:http://certificates.authority.example/1.crt
crlDistributionPoints = URI:http://lists.authority.example/1.crl
certificatePolicies = 2.23.140.1.2.1
subjectAltName = DNS:registry.example, DNS:*.registry.example, DNS:download.registry.example, DNS:www.registry.example
1.3.6.1.4.1.11129.2.4.2 = DER:04:82:00:f0:$timestamps
EOF

# chain NAME ROOT-AND-INTERMEDIATE-KEY LEAF-KEY, keys as options of `openssl genpkey`
chain() {
    # shellcheck disable=SC2086
    for key in root issuer; do openssl genpkey $2 -out "$1-$key.key"; done
    # shellcheck disable=SC2086
    openssl genpkey $3 -out "$1-server.key"
    openssl req -x509 -key "$1-root.key" -days $days -subj "/C=XX/O=Laboratory Trust Services/CN=Root $1" -out "$1-root.pem"
    openssl req -new -key "$1-issuer.key" -subj "/C=XX/O=Laboratory Trust Services/CN=Issuer $1" -out "$1-issuer.csr"
    openssl x509 -req -in "$1-issuer.csr" -CA "$1-root.pem" -CAkey "$1-root.key" -CAcreateserial -days $days \
        -extfile authority.ext -out "$1-issuer.pem"
    openssl req -new -key "$1-server.key" -subj /CN=registry.example -out "$1-server.csr"
    openssl x509 -req -in "$1-server.csr" -CA "$1-issuer.pem" -CAkey "$1-issuer.key" -CAcreateserial -days $days \
        -extfile server.ext -out "$1-server.pem"
    cat "$1-server.pem" "$1-issuer.pem" "$1-server.key" > "$1.pem"
}

chain rsa '-algorithm RSA -pkeyopt rsa_keygen_bits:2048' '-algorithm RSA -pkeyopt rsa_keygen_bits:2048'
chain ecdsa '-algorithm EC -pkeyopt ec_paramgen_curve:P-384' '-algorithm EC -pkeyopt ec_paramgen_curve:P-256'
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out tiny-server.key
openssl req -x509 -key tiny-server.key -days $days -subj /CN=t -out tiny-server.pem
cat tiny-server.pem tiny-server.key > tiny.pem
