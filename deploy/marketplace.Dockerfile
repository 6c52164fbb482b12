# The marketplace: one binary, the certificates of public authorities, and a user of its own. No shell, no packages.
#
# `make images` prepares the context, with a static binary, and builds this:
#   docker build -f deploy/marketplace.Dockerfile -t oak-marketplace target/images/marketplace
FROM scratch
COPY rootfs /
# The state folder with its owner, so that a new volume that is mounted there is that user's.
COPY --chown=10001:10001 state /var/lib/marketplace
USER 10001:10001
# The rest of the image is read-only where deploy/compose.yaml runs it: SQLite's temporary files lie beside its database.
ENV MARKETPLACE__STATE_DIR=/var/lib/marketplace \
    SQLITE_TMPDIR=/var/lib/marketplace \
    MARKETPLACE__SERVER__ADDRESS=0.0.0.0
VOLUME /var/lib/marketplace
EXPOSE 11102
# There is no shell to run a probe with: the binary asks itself.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/marketplace", "healthcheck"]
ENTRYPOINT ["/marketplace"]
