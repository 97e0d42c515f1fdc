# One static program and nothing else. The same file builds for amd64 and arm64: each
# builds on its own kind of machine, or emulated (`docker buildx build --platform …`).
ARG RUST_VERSION=1.95
FROM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src ./src
# As `make build` does it; glibc, not musl, whose resolver gives up on names that a
# name server answers for IPv4 only.
RUN cargo rustc --release --locked --bin oci-chartrepo -- \
    -C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
LABEL org.opencontainers.image.title="oci-chart-registry" \
      org.opencontainers.image.description="Serves the Helm charts of an OCI registry as a classic chart repository." \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /build/target/release/oci-chartrepo /oci-chartrepo
# Numeric, for there is no /etc/passwd, and so that Kubernetes can see it isn't root.
# No nsswitch.conf either: a static glibc does without it.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/oci-chartrepo"]
