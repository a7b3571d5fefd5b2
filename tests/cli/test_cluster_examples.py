"""examples/cluster: well formed; and run, with stand-ins for ssh and SLURM, over loopback and between network namespaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from runs import ROOT, assert_same_weights, command, environment, execute, make_data, weights_of

EXAMPLES = ROOT / "examples" / "cluster"
SRUN = """#!/bin/bash
tasks=$SLURM_NTASKS
while [[ $1 == --* ]]; do [[ $1 == --ntasks=* ]] && tasks=${1#--ntasks=}; shift; done
for rank in $(seq 0 $((tasks - 1))); do SLURM_PROCID=$rank "$@" & done
wait
"""
STAND_INS = {
    "srun": SRUN,
    "scontrol": "#!/bin/bash\necho 127.0.0.1\n",
    "hostname": "#!/bin/bash\necho 127.0.0.1\n",
}


def flags(folder, out, *more) -> list:
    """The arguments of `icd` for a short ICD run."""
    words = command(
        folder / "data", folder / out, "--superpixels", folder / f"sp_{out}", "--num-epoch", 2, *more
    )
    return ["run", "icd", *words[2:]]


@pytest.fixture
def stand_ins(tmp_path, monkeypatch):
    """An environment in which SLURM's commands are ours, and `icd` is this checkout."""
    make_data(tmp_path / "data", 4)
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in STAND_INS.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    path = os.pathsep.join([str(folder), str(Path(sys.executable).parent), os.environ["PATH"]])
    variables = {"PATH": path, "ICD": f"{sys.executable} -m icd.cli.main", "SLURM_JOB_NODELIST": "here",
                 "SLURM_NTASKS": "2", "SLURM_JOB_ID": str(os.getpid()), "SLURM_PROCID": "0"}  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def run_script(name, words, **variables) -> None:
    """Run one of the scripts in the checkout."""
    result = subprocess.run(
        ["bash", str(EXAMPLES / name), *words], cwd=ROOT, env={**environment(), **variables},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_scripts_and_manifests_are_well_formed():
    scripts = [*EXAMPLES.glob("*.sh"), *EXAMPLES.glob("*.sbatch")]
    assert len(scripts) == 6
    for script in scripts:
        assert subprocess.run(["bash", "-n", str(script)]).returncode == 0
        assert all(len(line) <= 130 for line in script.read_text().splitlines())
    for manifest in EXAMPLES.glob("*.yaml"):
        for document in yaml.safe_load_all(manifest.read_text()):
            assert document["kind"] in ("Service", "Job", "Deployment") and document["metadata"]["name"]


@pytest.mark.slow
def test_slurm_scripts(tmp_path, stand_ins):
    """Training by two tasks; then, without its maps, the stages by a scheduler and a worker of Dask."""
    pytest.importorskip("distributed")
    run_script("train.sbatch", flags(tmp_path, "run"))
    expected = {path.name: path.read_bytes() for path in (tmp_path / "run/results").rglob("*.png")}
    for path in (tmp_path / "run/results").rglob("*.*"):
        if path.suffix in (".npz", ".png"):
            path.unlink()
    run_script("stages.sbatch", flags(tmp_path, "run", "--resume"))
    assert len(expected) == 4
    assert expected == {path.name: path.read_bytes() for path in (tmp_path / "run/results").rglob("*.png")}


@pytest.fixture
def two_machines(tmp_path):
    """Two network namespaces with a cable between, and a stand-in for ssh; skipped where they cannot be made."""
    names = [f"icd-{os.getpid()}-{number}" for number in (1, 2)]
    cables = [f"icd{os.getpid() % 100000}v{number}" for number in (1, 2)]
    setup = [["netns", "add", name] for name in names]
    setup.append(["link", "add", cables[0], "type", "veth", "peer", "name", cables[1]])
    setup += [["link", "set", cable, "netns", name] for cable, name in zip(cables, names)]
    for number, (name, cable) in enumerate(zip(names, cables), 1):
        inside = ["netns", "exec", name, "ip"]
        setup.append([*inside, "addr", "add", f"10.77.0.{number}/24", "dev", cable])
        setup += [[*inside, "link", "set", device, "up"] for device in (cable, "lo")]
    try:
        for words in setup:
            if subprocess.run(["ip", *words], capture_output=True).returncode:
                pytest.skip("needs the right to make network namespaces (ip netns)")
        script = tmp_path / "remote.sh"
        prefix = names[0][:-1]
        script.write_text(
            f'host=$1; shift\nDMLC_NODE_HOST=$host exec ip netns exec {prefix}${{host##*.}} bash -c "$*"\n'
        )
        yield f"bash {script}"
    except FileNotFoundError:
        pytest.skip("needs ip (iproute2)")
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


@pytest.mark.slow
def test_ssh_script_between_two_networks(tmp_path, stand_ins, two_machines):
    """Two workers that reach each other by a network alone give what `icd launch` gives on one machine."""
    run_script("ssh.sh", flags(tmp_path, "apart"), HOSTS="10.77.0.1 10.77.0.2", REMOTE=two_machines)
    launch = [sys.executable, "-m", "icd.cli.main", "launch", "-n", "2", "--", "icd"]
    result = execute([*launch, *flags(tmp_path, "together")], tmp_path)
    assert result.returncode == 0, result.stderr
    apart, together = (weights_of(tmp_path / name, epochs=2) for name in ("apart", "together"))
    assert_same_weights(apart, together)
