"""Validates JobSets and SkyPilot tasks; see check-launch, which installs the tools.

python .ci/validate_manifests.py FILE.yaml …
"""

import sys

import kubernetes_validate
import sky
import yaml
from kubeflow_trainer_api import models

KUBERNETES = "1.31"


def unknown(given, parsed, path=""):
    """Lists what a parser dropped from its input."""
    if isinstance(given, dict):
        for key, value in given.items():
            if not isinstance(parsed, dict) or key not in parsed:
                yield f"{path}.{key}"
            else:
                yield from unknown(value, parsed[key], f"{path}.{key}")
    elif isinstance(given, list):
        for number, (one, other) in enumerate(zip(given, parsed, strict=True)):
            yield from unknown(one, other, f"{path}[{number}]")
    elif given != parsed:
        yield f"{path}: {given!r} became {parsed!r}"


def check_jobset(content):
    """Checks a JobSet against its API's models, and its jobs against Kubernetes."""
    parsed = models.JobsetV1alpha2JobSet.from_dict(content)
    if dropped := list(unknown(content, parsed.to_dict())):
        raise ValueError(f"JobSet's API does not know {', '.join(dropped)}")
    for job in content["spec"]["replicatedJobs"]:
        name = f"{content['metadata']['name']}-{job['name']}-0"
        # as JobSet creates it
        whole = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": job["template"]["spec"],
        }
        kubernetes_validate.validate(whole, KUBERNETES, strict=True)


def main(paths):
    """Validates files; stops at the first that is not valid."""
    for path in paths:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
        if content.get("kind") == "JobSet":
            check_jobset(content)
        else:
            sky.Task.from_yaml(path)
    print(f"{len(paths)} manifests are valid")


if __name__ == "__main__":
    main(sys.argv[1:])
