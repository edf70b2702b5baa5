"""Certificates for tests: one authority, servers (RSA and ECDSA), clients, a revocation list."""
import datetime
import ipaddress
import os
import ssl

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def _name(cn):
    return x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "sluice tests"),
                      x509.NameAttribute(NameOID.COMMON_NAME, cn)])


class Certs:
    """c.make("a.example") writes a.example.crt and .key below c.dir and returns both paths."""

    def __init__(self, folder):
        self.dir = folder
        self.now = datetime.datetime.utcnow().replace(microsecond=0)
        self.ca_key = ec.generate_private_key(ec.SECP256R1())
        self.ca = self._sign(_name("test authority"), self.ca_key.public_key(), _name("test authority"), ca=True)
        self.ca_path = self._write("ca.crt", self.ca.public_bytes(serialization.Encoding.PEM))
        self.serials = {}

    def _write(self, name, data):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        os.chmod(path, 0o644)
        return path

    def _sign(self, subject, public, issuer, ca=False, names=(), client=False, days=30):
        start = self.now - datetime.timedelta(days=2)
        end = self.now + datetime.timedelta(days=days)
        if end < start:
            start = end - datetime.timedelta(days=1)
        b = (x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(public)
             .serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
             .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
             .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False))
        if not ca:
            b = b.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.ca_key.public_key()),
                                critical=False)
        if names:
            alt = []
            for n in names:
                try:
                    alt.append(x509.IPAddress(ipaddress.ip_address(n)))
                except ValueError:
                    alt.append(x509.DNSName(n))
            b = b.add_extension(x509.SubjectAlternativeName(alt), critical=False)
        if client:
            b = b.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        return b.sign(self.ca_key, hashes.SHA256())

    def make(self, cn, names=None, kind="ec", client=False, days=30, file=None, password=None):
        key = (ec.generate_private_key(ec.SECP256R1()) if kind == "ec"
               else rsa.generate_private_key(public_exponent=65537, key_size=2048))
        cert = self._sign(_name(cn), key.public_key(), _name("test authority"), client=client, days=days,
                          names=() if client else (names if names is not None else [cn]))
        file = file or cn.replace("*", "star")
        self.serials[file] = cert.serial_number
        enc = (serialization.BestAvailableEncryption(password.encode()) if password
               else serialization.NoEncryption())
        crt = self._write(file + ".crt", cert.public_bytes(serialization.Encoding.PEM))
        pem = self._write(file + ".key", key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, enc))
        return crt, pem

    def crl(self, *files):
        b = (x509.CertificateRevocationListBuilder().issuer_name(_name("test authority"))
             .last_update(self.now - datetime.timedelta(days=1))
             .next_update(self.now + datetime.timedelta(days=10)))
        for f in files:
            b = b.add_revoked_certificate(x509.RevokedCertificateBuilder().serial_number(self.serials[f])
                                          .revocation_date(self.now - datetime.timedelta(hours=1)).build())
        return self._write("ca.crl", b.sign(self.ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))

    def client_context(self, cert=None, verify=True, low=None, high=None, ciphers=None, alpn=None):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if verify:
            c.load_verify_locations(self.ca_path)
        else:
            c.check_hostname = False
            c.verify_mode = ssl.CERT_NONE
        if low:
            c.minimum_version = low
        if high:
            c.maximum_version = high
        if ciphers:
            c.set_ciphers(ciphers)
        if cert:
            c.load_cert_chain(*cert)
        if alpn:
            c.set_alpn_protocols(alpn)
        return c

    def server_context(self, pair, verify_clients=False, high=None):
        c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        c.load_cert_chain(*pair)
        if high:
            c.maximum_version = high
        if verify_clients:
            c.load_verify_locations(self.ca_path)
            c.verify_mode = ssl.CERT_REQUIRED
        return c
