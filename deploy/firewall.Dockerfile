# The image of the Dockerfile with what [firewall] needs: the program `nft`, and CAP_NET_ADMIN for an ordinary user. It has a shell and a package
# manager, which the other has not: use it only where the border is to keep a table in the kernel.
#
#   docker build -t portcullis . && docker build -t portcullis:firewall -f deploy/firewall.Dockerfile deploy
#
# Run it with --cap-add NET_ADMIN and without no-new-privileges: the engine gives the capability to the container, the file gives it to the program.
ARG PORTCULLIS_IMAGE=portcullis
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${PORTCULLIS_IMAGE} AS portcullis

FROM ${BASE_IMAGE}
RUN apt-get update && apt-get install -y --no-install-recommends nftables ca-certificates libcap2-bin && rm -rf /var/lib/apt/lists/*
COPY --from=portcullis /usr/bin/portcullis /usr/bin/portcullis
RUN setcap cap_net_admin=+p /usr/bin/portcullis && useradd --system --uid 65532 --home-dir /var/lib/portcullis portcullis && \
    install -d -o 65532 -g 65532 /var/lib/portcullis && install -d -o 65532 -g 65532 -m 0750 /run/portcullis /certs
USER 65532:65532
VOLUME /etc/portcullis
VOLUME /var/lib/portcullis
VOLUME /run/portcullis
ENV STATE_DIRECTORY=/var/lib/portcullis
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/usr/bin/portcullis", "health"]
STOPSIGNAL SIGTERM
WORKDIR /var/lib/portcullis
ENTRYPOINT ["/usr/bin/portcullis"]
CMD ["run", "/etc/portcullis"]
