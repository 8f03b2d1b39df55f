# The app as a custom container for Azure Functions: docs/deploy.md.
#   MODEL       a model of the Hugging Face hub, a folder under models/, or demo for the bundled one (no hub is asked)
#   REVISION    commit, tag or branch of that model; empty = the exporter's own pin
#   PRECISION   what generation.export takes: fp32, int8, ...
#   GIT_SHA     commit of this repository, shown by /api/health as "revision"
ARG BASE_IMAGE=mcr.microsoft.com/azure-functions/python:4-python3.13

# ---- the model: checkpoint in, verified artifact out. torch stays in this stage.
FROM ${BASE_IMAGE} AS export
WORKDIR /build
ARG MODEL=distilbert/distilgpt2
ARG REVISION=
ARG PRECISION=int8
# Further arguments for pip, such as the index of torch's CPU builds: without it pip fetches several GB for GPUs.
ARG TORCH_PIP_ARGS=
COPY pyproject.toml ./
RUN if [ "${MODEL}" = demo ] && [ "${PRECISION}" = int8 ]; then echo "the bundled artifact needs no tools"; exit 0; fi; \
    python3 -m venv /opt/export && \
    /opt/export/bin/pip install --quiet --no-cache-dir pip==26.3 && \
    /opt/export/bin/pip install --quiet --no-cache-dir ${TORCH_PIP_ARGS} --group export
COPY models/ models/
COPY generation/ generation/
# A private model needs a token: docker build --secret id=hf_token,env=HF_TOKEN
RUN --mount=type=cache,target=/cache/huggingface \
    --mount=type=secret,id=hf_token \
    set -eu; \
    if [ -f /run/secrets/hf_token ]; then HF_TOKEN=$(cat /run/secrets/hf_token); export HF_TOKEN; fi; \
    export HF_HOME=/cache/huggingface; \
    if [ "${MODEL}" = demo ] && [ "${PRECISION}" = int8 ]; then \
        mkdir -p /artifact && cp models/demo/*.* /artifact/; \
    elif [ "${MODEL}" = demo ]; then \
        /opt/export/bin/python -m generation.export models/demo/checkpoint /artifact \
            --precision "${PRECISION}" --name tinystories-demo; \
    else \
        /opt/export/bin/python -m generation.export "${MODEL}" /artifact \
            --precision "${PRECISION}" ${REVISION:+--revision "${REVISION}"}; \
    fi; \
    chmod -R a+rX /artifact

# ---- the packages, for the Python of the base image, without what nothing here imports. The imports leave the bytecode
# of what every start imports, so that no start has to compile it, and of nothing else, because the rest is large.
FROM ${BASE_IMAGE} AS dependencies
COPY requirements.txt scripts/prune.py /build/
RUN python3 -m pip install --quiet --no-cache-dir --no-compile --require-hashes --target /packages -r /build/requirements.txt && \
    python3 /build/prune.py /packages && \
    PYTHONPATH=/packages python3 -c "import azure.functions, azurefunctions.extensions.http.fastapi, onnxruntime, tokenizers"

# ---- the image
FROM ${BASE_IMAGE}
# In Azure the worker sets PYTHONPATH to this very folder; elsewhere nothing does.
ENV PYTHONPATH=/home/site/wwwroot/.python_packages/lib/site-packages \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHON_ENABLE_INIT_INDEXING=1 \
    FUNCTIONS_WORKER_PROCESS_COUNT=1 \
    AzureWebJobsScriptRoot=/home/site/wwwroot \
    AzureWebJobsDisableHomepage=true \
    AzureFunctionsJobHost__Logging__Console__IsEnabled=true \
    MODEL_DIR=models/served
WORKDIR /home/site/wwwroot
COPY --from=dependencies /packages/ .python_packages/lib/site-packages/
COPY --from=export /artifact/ models/served/
COPY LICENSE host.json function_app.py ./
COPY generation/ generation/
RUN python3 -m compileall -q function_app.py generation
# The build fails here if pruning took too much: every module is imported and requests are answered.
RUN --mount=type=bind,source=scripts/smoke.py,target=/smoke.py python3 /smoke.py
EXPOSE 80
# Seconds between the platform's SIGTERM and its SIGKILL (docs/functions.md). Where the platform gives fewer, it kills the
# container before the entry point has ended what runs.
ENV STOP_GRACE_S=10
COPY scripts/entrypoint.py /opt/entrypoint.py
ENTRYPOINT ["python3", "-I", "-S", "/opt/entrypoint.py"]
# An entry point takes away the base image's command.
CMD ["/opt/startup/start_nonappservice.sh"]
ARG GIT_SHA=
ENV GIT_SHA=${GIT_SHA}
LABEL org.opencontainers.image.title="distilgpt2-functions" \
      org.opencontainers.image.description="Text generation from DistilGPT2 through an Azure Functions HTTP trigger" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.revision="${GIT_SHA}"
