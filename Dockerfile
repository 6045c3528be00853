# The service: docker build -t sequela . && docker run -p 8000:8000 -e SEQUELA_TOKEN=… -v $PWD/answer:/answer sequela
FROM python:3.12-slim

WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src src
# PyTorch's default build brings several GB for a GPU that the service does not need. To take the CPU build instead, name
# the index that holds it: docker build --build-arg PIP_EXTRA_INDEX_URL=… (a local version such as 2.13.0+cpu is preferred).
ARG PIP_EXTRA_INDEX_URL
RUN pip install --no-cache-dir --constraint constraints.txt ".[serve]" \
    && useradd --create-home service
USER service
ENV OMP_NUM_THREADS=1
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health')"]
ENTRYPOINT ["sequela"]
CMD ["serve", "/answer", "--host", "0.0.0.0"]
