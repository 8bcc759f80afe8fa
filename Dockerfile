# The compiler runs on the machine that builds, whatever the image is for.
FROM --platform=$BUILDPLATFORM golang:1.26.8 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETOS
ARG TARGETARCH
ARG VERSION=dev
ARG COMMIT=
ARG DATE=
# What was compiled is kept, so that a change of a source compiles that package and those that import it, and no dependency. The cache needs
# BuildKit or buildah, which are what docker and podman build with.
RUN --mount=type=cache,target=/go/cache \
    GOCACHE=/go/cache CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath \
    -ldflags "-s -w \
      -X github.com/dfmiddleware/verity-sync/internal/version.Version=$VERSION \
      -X github.com/dfmiddleware/verity-sync/internal/version.Commit=$COMMIT \
      -X github.com/dfmiddleware/verity-sync/internal/version.Date=$DATE" \
    -o /verity-sync ./cmd

# No shell, no package manager; certificate authorities and time zones are in it.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /verity-sync /verity-sync
# A number, because runAsNonRoot cannot judge a name.
USER 65532:65532
ENTRYPOINT ["/verity-sync"]
