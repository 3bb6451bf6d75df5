#!/usr/bin/env bash
# Trains mldg_jax on a multi-host TPU slice, step by step:
#
#   docs/tpu.sh create | install | corpora | train | delete
#
# Set these variables first (example: a v5e slice of 16 chips on 4 hosts):
#   NAME=mldg ZONE=us-west4-a TYPE=v5litepod-16 VERSION=v2-alpha-tpuv5-lite
#   NFS=10.0.0.2:/share   a Filestore for all hosts: unpacked/NAME, data/, runs/
#   CONFIG=configs/xlsr.py:mldg RUN=xlsr-mldg
set -euo pipefail
: "${NAME:=mldg}" "${ZONE:?name a zone}" "${TYPE:=v5litepod-16}"
: "${VERSION:=v2-alpha-tpuv5-lite}" "${NFS:=}" "${RUN:=xlsr-mldg}"
: "${CONFIG:=configs/xlsr.py:mldg}"
REPOSITORY=$(cd "$(dirname "$0")/.." && pwd)
SHARED=/mnt/mldg

everywhere() { # runs a command on every host at once, or on host $2
  gcloud compute tpus tpu-vm ssh "$NAME" --zone "$ZONE" --worker "${2:-all}" \
    --command "set -e; cd mldg_jax; $1"
}

case "${1:-}" in
  create) # --spot: cheaper, can be preempted; training then resumes
    gcloud compute tpus tpu-vm create "$NAME" --zone "$ZONE" \
      --accelerator-type "$TYPE" --version "$VERSION" --spot \
      --scopes https://www.googleapis.com/auth/cloud-platform
    ;;
  install)
    git -C "$REPOSITORY" archive --prefix mldg_jax/ -o /tmp/mldg_jax.tar HEAD
    gcloud compute tpus tpu-vm scp /tmp/mldg_jax.tar "$NAME": --zone "$ZONE" \
      --worker all
    gcloud compute tpus tpu-vm ssh "$NAME" --zone "$ZONE" --worker all \
      --command "tar xf mldg_jax.tar"
    # Every host must see the same checkpoints, on a disk whose renames are atomic.
    # Ubuntu 22.04 images have Python 3.10, too old for the pinned packages, and offer 3.11.
    everywhere "python=python3
      python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
      { python=python3.11 && sudo apt-get update --quiet &&
        sudo apt-get install --yes --quiet python3.11 python3.11-venv ||
        { echo 'Python 3.11 or newer is needed: choose a newer VERSION'; exit 2; }; }
      \$python -m venv .venv &&
      .venv/bin/pip install --quiet -c constraints.txt -e '.[tpu,hub,av]' &&
      sudo apt-get install --yes --quiet nfs-common && sudo mkdir -p $SHARED &&
      sudo mount -t nfs ${NFS:?name a Filestore} $SHARED"
    ;;
  corpora) # on one host, from archives unpacked to unpacked/NAME on the share
    for corpus in asvspoof2019_la asvspoof2021_la asvspoof2021_df asvspoof5 \
      in_the_wild fakeavceleb; do
      everywhere ".venv/bin/mldg corpus build $corpus \
        --source $SHARED/unpacked/$corpus --data-dir $SHARED/data" 0
    done
    ;;
  train) # run again after a preemption: resumes from the last checkpoint
    everywhere ".venv/bin/mldg train --config $CONFIG --coordinator auto \
      --data-dir $SHARED/data --workdir $SHARED/runs/$RUN"
    ;;
  delete)
    gcloud compute tpus tpu-vm delete "$NAME" --zone "$ZONE" --quiet
    ;;
  *)
    sed -n 's/^# \{0,1\}//p' "$0" | sed -n 2,10p
    exit 2
    ;;
esac
