# Builds from the checkout: docker build -t daemun:0.1.0 .
# The image that `daemun install` names: what runs is not root, and writes nothing but to /tmp.
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY protocols protocols
COPY plugins plugins
COPY contrib contrib
RUN python -m venv /opt/daemun \
    && /opt/daemun/bin/pip install --no-cache-dir '.[fast,kubernetes,prometheus,soap]'

FROM python:3.11-slim
RUN groupadd --gid 10001 daemun \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin daemun \
    && mkdir /etc/daemun
COPY --from=build /opt/daemun /opt/daemun
ENV PATH=/opt/daemun/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /etc/daemun
EXPOSE 8080 8443
ENTRYPOINT ["daemun"]
CMD ["run", "/etc/daemun/daemun.yaml"]
