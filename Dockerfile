# Builds from the checkout: docker build -t daemun .
FROM python:3.11-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY core core
COPY protocols protocols
COPY plugins plugins
COPY contrib contrib
RUN python -m venv /opt/daemun && /opt/daemun/bin/pip install --no-cache-dir '.[fast,prometheus]'

FROM python:3.11-slim
COPY --from=build /opt/daemun /opt/daemun
ENV PATH=/opt/daemun/bin:$PATH PYTHONUNBUFFERED=1
RUN useradd --system --uid 10001 daemun
USER 10001
WORKDIR /etc/daemun
EXPOSE 8080
ENTRYPOINT ["daemun"]
CMD ["run", "/etc/daemun/daemun.yaml"]
