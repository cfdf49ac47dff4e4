"""One fork server for all tests: it has imported what they need, so that a process starts without seconds of importing.

Named are modules that it finds by itself: it does not know the tests' folders. What is not installed is left out.
"""

from __future__ import annotations

import multiprocessing

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "cryoprobe.stores.keeping.gc",
        "cryoprobe.stores.keeping.removal",
        "cryoprobe.stores.keeping.repair",
        "cryoprobe.stores.backends.objects",
        "torch",
        "timm",
        "cryoprobe.pipeline.extract",
        "cryoprobe.pipeline.encoders.timm_encoder",
        "cryoprobe.pipeline.probe",
        "cryoprobe.pipeline.probes.logistic",
        "cryoprobe.pipeline.probes.logistic.estimator",
    ]
)
