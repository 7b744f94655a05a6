"""Documents of schema 1, as the engine writes them."""

from __future__ import annotations

from typing import Any

RUN = "20261120-135012-train-7f3a"
INSTANCE = "6f1c2f0e-9d0a-4b6b-8b1e-0d5a4c3b2a19"
HOSTILE = [
    "a b",
    'it\'s "quoted"',
    "$HOME `id` $(id)",
    "line\nbreak\r\nBcc: someone@example.org",
    "--help",
    "Größe 温度 🧬",
    "<script>alert(1)</script>&amp;<b>",
    "safe\u202egnp.exe",
    "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "x" * 250,
    "lone \udce9 surrogate",
    "nul\x00byte",
]


def observation(at: str, status: str) -> dict[str, Any]:
    return {
        "at": f"2026-11-20T{at}+00:00",
        "status": status,
        "vm_state": status.lower(),
        "task_state": None,
        "power_state": 4,
    }


def receipt(status: str = "SHELVED_OFFLOADED", *, verified: bool = True, **changes: Any) -> dict[str, Any]:
    reads = [observation("14:03:22", status), observation("14:03:28", status)]
    return {
        "verified": verified,
        "disposition": "shelve",
        "status": status,
        "requested_at": "2026-11-20T14:03:01+00:00",
        "verified_at": "2026-11-20T14:03:28+00:00" if verified else None,
        "request_ids": ["req-1"],
        "observations": reads,
        "reason": "" if verified else "stuck",
        "gap_s": 5.0,
        "shelved_is_down": False,
        "notes": [],
        **changes,
    }


def document(**changes: Any) -> dict[str, Any]:
    """A run that succeeded and whose instance is proven down, but for *changes*."""
    return {
        "schema": 1,
        "run_id": RUN,
        "name": "train",
        "outcome": "succeeded",
        "exit_code": 0,
        "script": {
            "exit_code": 0,
            "signal": None,
            "started_at": "2026-11-20T13:51:02+00:00",
            "ended_at": "2026-11-20T14:02:40+00:00",
        },
        "instance": {"id": INSTANCE, "name": "gpu-lab-3", "launched_by_run": False},
        "receipt": receipt(),
        "outputs": [{"path": "results/loss.csv", "size_bytes": 1234, "sha256": "0" * 64}],
        "cost": {"unit": "SU", "run": 3.4721, "now_per_hour": 0.0, "rate_source": "Jetstream2"},
        "mail": {"state": "none"},
        "phases": [
            {"name": "acquire", "started_at": "2026-11-20T13:50:14+00:00", "ended_at": "2026-11-20T13:50:50+00:00"},
            {"name": "execute", "started_at": "2026-11-20T13:51:02+00:00", "ended_at": "2026-11-20T14:02:40+00:00"},
        ],
        "output_dir": "out/run",
        "error": None,
        "cloud": "js2",
        "log_tail": "epoch 3 loss 0.21\n",
        "warnings": [],
        **changes,
    }


def unverified(**changes: Any) -> dict[str, Any]:
    """The same run, but the instance is not proven down."""
    return document(
        outcome="not verified down",
        exit_code=119,
        receipt=receipt("ACTIVE", verified=False),
        cost={"unit": "SU", "run": 41.0, "now_per_hour": 16.0, "rate_source": ""},
        error={
            "code": "shutdown-unverified-stuck",
            "what": "instance gpu-lab-3 is not proven down: stuck",
            "state": "ACTIVE, read 4 s ago; it costs 16 SU/h",
            "next": f"openstack --os-cloud js2 server shelve {INSTANCE} && jetrun verify {RUN}",
        },
        **changes,
    )


def untouched() -> dict[str, Any]:
    """A run that was refused before anything was asked for."""
    return document(
        outcome="in use",
        exit_code=122,
        script=None,
        receipt=None,
        outputs=[],
        cost={"unit": "SU", "run": 0.0, "now_per_hour": None, "rate_source": ""},
        error={
            "code": "instance-in-use",
            "what": "it runs",
            "state": "ACTIVE, read 1 s ago",
            "next": "jetrun run j.toml",
        },
    )
