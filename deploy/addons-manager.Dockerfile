# The addons manager: one binary and the certificates of public authorities. No shell, no packages.
#
# `make images` prepares the context, with a static binary, and builds this:
#   docker build -f deploy/addons-manager.Dockerfile -t oak-addons-manager target/images/addons-manager
#
# It is root in its container: whoever may use the engine's socket is root on the host anyway. Its state folder has to be
# mounted from the same path on the host, since files of addons lie in it and the engine binds them from there. So there
# is no VOLUME here, which would hide a forgotten mount.
FROM scratch
COPY rootfs /
# The rest of the image is read-only where deploy/compose.yaml runs it: SQLite's temporary files lie beside its database.
ENV ADDONS_MANAGER__STATE_DIR=/var/lib/addons-manager \
    SQLITE_TMPDIR=/var/lib/addons-manager \
    ADDONS_MANAGER__SERVER__ADDRESS=0.0.0.0
EXPOSE 11101
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s CMD ["/addons-manager", "healthcheck"]
ENTRYPOINT ["/addons-manager"]
