"""Metrics of a service for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from anytag.service.models import ModelPool


class Metrics:
    """The counters of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("anytag_requests", "Requests answered.", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "anytag_request_seconds", "Seconds from a request to its answer.", ["route"], registry=self.registry
        )
        self.pictures = Counter("anytag_pictures", "Pictures recognized.", ["model"], registry=self.registry)
        self.batches = Histogram(
            "anytag_batch_pictures",
            "Pictures recognized together.",
            ["model"],
            buckets=(1, 2, 4, 8, 16, 32),
            registry=self.registry,
        )
        self._waiting = Gauge("anytag_waiting_pictures", "Pictures in the queue.", ["model"], registry=self.registry)
        self._loaded = Gauge(
            "anytag_model_loaded", "Whether the model is in memory.", ["model"], registry=self.registry
        )

    def batch(self, model: str, size: int, seconds: float) -> None:
        """Count a batch."""
        self.pictures.labels(model).inc(size)
        self.batches.labels(model).observe(size)

    def text(self, pool: ModelPool) -> bytes:
        """Return all metrics in Prometheus' text format."""
        for gauge, values in ((self._waiting, pool.waiting()), (self._loaded, pool.loaded())):
            for model, value in values.items():
                gauge.labels(model).set(value)
        return generate_latest(self.registry)
