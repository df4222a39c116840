# Builds from the checkout: docker build -t daemun:0.1.0 .
# The image that `daemun install` names: the one file of `daemun build`, the C library that it was built with, and the
# certificates of authorities. No shell, no Python; what runs is not root, and writes nothing but to /tmp.
FROM python:3.11-bookworm AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY protocols protocols
COPY plugins plugins
COPY contrib contrib
RUN python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir '.[binary,fast,kubernetes,prometheus,soap]' \
    && /opt/build/bin/daemun build --output /image/usr/bin/daemun
# Unpacked by root, for all: /usr/lib/daemun is where it looks first.
RUN cp --parents --dereference $(dpkg -L libc6 | grep '^/lib/.*\.so\.[0-9]*$') \
        $(ldd /image/usr/bin/daemun | grep -o '/[^ ]*ld-linux[^ ]*') \
        /etc/ssl/certs/ca-certificates.crt /image \
    && mkdir -p /image/etc/daemun /image/usr/lib/daemun \
    && install --directory --mode=1777 /image/tmp \
    && echo 'hosts: files dns' > /image/etc/nsswitch.conf \
    && echo 'daemun:x:10001:10001::/tmp:/sbin/nologin' > /image/etc/passwd \
    && DAEMUN_UNPACK=/image/usr/lib/daemun /image/usr/bin/daemun --version

FROM scratch
COPY --from=build /image /
ENV DAEMUN_UNPACK=/usr/lib/daemun PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /etc/daemun
EXPOSE 8080 8443
ENTRYPOINT ["daemun"]
CMD ["run", "/etc/daemun/daemun.yaml"]
