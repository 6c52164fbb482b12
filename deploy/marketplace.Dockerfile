# The marketplace: one static binary. scripts/images.sh makes the folder that this is built in.
FROM scratch
COPY passwd /etc/passwd
COPY ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --chown=65532:65532 state /var/lib/marketplace
COPY marketplace /marketplace
ENV MARKETPLACE__STATE_DIR=/var/lib/marketplace \
    MARKETPLACE__SERVER__ADDRESS=0.0.0.0 \
    MARKETPLACE__LOG__FORMAT=json
# It needs no right of the host at all.
USER 65532:65532
VOLUME /var/lib/marketplace
EXPOSE 11102
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["/marketplace", "healthcheck"]
ENTRYPOINT ["/marketplace"]
