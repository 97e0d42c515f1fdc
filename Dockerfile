# One static program, its papers and nothing else. Built by BuildKit (docker's own builder since version 23)
# or buildah. On x86-64 it cross-compiles for arm64 and armv7 (--platform=linux/arm64) with the same toolchain as
# `make dist`, ten times faster than an emulated compiler; on any machine it builds for that machine's own
# architecture. buildah 1.28 has to be told --build-arg BUILDPLATFORM=linux/amd64 for another one.
ARG RUST_VERSION=1.95
FROM --platform=$BUILDPLATFORM rust:${RUST_VERSION}-slim-bookworm AS build
WORKDIR /build
ARG TARGETARCH
ARG TARGETVARIANT
COPY deploy/dist/build deploy/dist/papers deploy/dist/toolchain deploy/dist/
# The dependencies, compiled with a program in place of ours that does nothing: a layer that stays while only
# our sources change. Then ours. What cargo downloads and the cross compiler outlive both in caches.
COPY Cargo.toml Cargo.lock ./
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target/cross \
    mkdir src && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
    && deploy/dist/build ${TARGETARCH:-native}${TARGETVARIANT} && rm -r src
COPY src ./src
# glibc, not musl, whose resolver gives up on names that a name server answers for IPv4 only. cargo compares
# times, and those of the sources may lie before those of the program above.
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/build/target/cross \
    touch src/main.rs src/lib.rs \
    && binary=$(deploy/dist/build ${TARGETARCH:-native}${TARGETVARIANT}) \
    && deploy/dist/papers ${TARGETARCH:-native}${TARGETVARIANT} /out/papers \
    && gzip --best --no-name /out/papers/NOTICES.txt && install -m 0755 "$binary" /out/oci-chartrepo

FROM scratch
ARG VERSION=dev
ARG REVISION=unknown
ARG SOURCE=unknown
ARG CREATED=1970-01-01T00:00:00Z
LABEL org.opencontainers.image.title="oci-chartrepo" \
      org.opencontainers.image.description="Serves the Helm charts of an OCI registry as a classic chart repository." \
      org.opencontainers.image.documentation="${SOURCE}/README.md" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /out /
# Numeric, for there is no /etc/passwd, and so that Kubernetes can see it isn't root.
# No nsswitch.conf either: a static glibc does without it.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/oci-chartrepo"]
