# A CPU image: docker build -t scalingar . && docker run --rm -v "$PWD/runs:/data/runs" scalingar generate "a red ring"
FROM python:3.11-slim

RUN useradd --create-home researcher && mkdir /data && chown researcher /data
# The CPU build of torch first: pip's default for Linux brings GPU libraries along.
RUN pip install --no-cache-dir torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu

COPY pyproject.toml constraints.txt README.md LICENSE /src/
COPY scalingar_fw /src/scalingar_fw
COPY plugins /src/plugins
COPY strategies /src/strategies
COPY analysis /src/analysis
RUN pip install --no-cache-dir -c /src/constraints.txt /src

USER researcher
WORKDIR /data
ENTRYPOINT ["scalingar"]
CMD ["--help"]
