# The border as a container image: built with the Rust toolchain, shipped with nothing but the program, the C library it was linked with, and the
# public CA certificates (for policy sets that name /etc/ssl/certs/ca-certificates.crt as a peer's `ca`). No shell, no package manager.
#
#   docker build -t portcullis .                                   (podman build --format docker -t portcullis .)
#   docker run -d --name portcullis --read-only --network host --cap-drop ALL --security-opt no-new-privileges --stop-timeout 90 \
#     -v ./policy:/etc/portcullis:ro -v records:/var/lib/portcullis portcullis
#   docker exec portcullis portcullis show status
#
# Both images below must have the same C library, or the second a newer one: both are Debian 12 (glibc 2.36). `tests/image/run` builds this file as
# it stands, with stand-ins for both named by these arguments: a base made on the spot, and a toolchain whose `cargo build` hands over a binary
# that was built before.
ARG RUST_IMAGE=rust:1.95-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS builder
WORKDIR /src
COPY . .
# Line tables are four fifths of what cargo makes; a panic names its file and line without them.
RUN cargo build --release --locked --bin portcullis && strip target/release/portcullis

# Puts the final image's files together; nothing else of this stage is kept.
FROM ${BASE_IMAGE} AS files
COPY --from=builder /src/target/release/portcullis /image/usr/bin/portcullis
RUN set -eu; \
    if [ ! -s /etc/ssl/certs/ca-certificates.crt ]; then \
        apt-get update; \
        apt-get install -y --no-install-recommends ca-certificates; \
    fi; \
    mkdir -p /image/etc/ssl/certs /image/etc/portcullis /image/var/lib/portcullis /image/run/portcullis /image/certs; \
    cp -L /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/; \
    ldd /image/usr/bin/portcullis | grep -o '/[^ ]*' | while read -r library; do \
        mkdir -p "/image$(dirname "$library")"; \
        cp -L "$library" "/image$library"; \
    done; \
    echo 'portcullis:x:65532:65532::/var/lib/portcullis:/usr/bin/portcullis' > /image/etc/passwd; \
    echo 'portcullis:x:65532:' > /image/etc/group; \
    chmod 0750 /image/run/portcullis /image/certs; \
    chown 65532:65532 /image/var/lib/portcullis /image/run/portcullis /image/certs

FROM scratch
COPY --from=files /image /

# No privilege is needed: SIP's ports are above 1023, and so are the media ports.
USER 65532:65532

# The policy set, with the certificates it names. It is only read: mount it read-only. Keys must be readable by user 65532.
VOLUME /etc/portcullis
# Call records: the store to be searched, unless [records] store says otherwise, and what else the policy set files here. A named volume gets the owner
# this folder has in the image; a folder of the host's must be given to 65532 by hand.
VOLUME /var/lib/portcullis
# The control socket, for `docker exec … portcullis show` and all else that asks. It and the records are the only places written to: the root may be
# read-only. A volume, since engines do not agree on how to give a tmpfs to an ordinary user.
VOLUME /run/portcullis
ENV STATE_DIRECTORY=/var/lib/portcullis

# 5060 SIP over UDP and TCP, 5061 over TLS; media as in [media] ports (20000-29999 unless set otherwise). Ten thousand published ports
# are slow in most container engines, and a translated address would have to be advertised: the host's network (--network host) avoids both.
EXPOSE 5060/udp 5060/tcp 5061/tcp 20000-29999/udp
# The admin door (/metrics, /healthz, /readyz) listens where [admin] says: 127.0.0.1:9160, unless others may reach it.
EXPOSE 9160/tcp

# Asks /healthz of http://127.0.0.1:9160; a policy set with another [admin] listen needs another --health-cmd. (Images in OCI format have no
# health check: with Podman `podman build --format docker` keeps it.)
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/bin/portcullis", "health"]

# Drains: no new calls, the old ones go on for at most `drain` (border.toml). Give the engine a longer stop timeout than that.
STOPSIGNAL SIGTERM

WORKDIR /var/lib/portcullis
ENTRYPOINT ["/usr/bin/portcullis"]
CMD ["run", "/etc/portcullis"]
