# The addons manager: one static binary. scripts/images.sh makes the folder that this is built in.
#
# Its state folder has to be mounted at the same path as on the host: the engine binds the small files of services from there.
FROM scratch
COPY passwd /etc/passwd
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY addons-manager /addons-manager
ENV ADDONS_MANAGER__STATE_DIR=/var/lib/addons-manager \
    ADDONS_MANAGER__SERVER__ADDRESS=0.0.0.0 \
    ADDONS_MANAGER__LOG__FORMAT=json
# As root, without its capabilities: who may use the engine's socket is root on the host in any case.
USER 0:0
EXPOSE 11101
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/addons-manager", "healthcheck"]
ENTRYPOINT ["/addons-manager"]
