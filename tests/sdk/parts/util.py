"""Fake ``qaic-util -q [-d QID]``: one record a device."""

import json
import sys
import time
from pathlib import Path

CONTROL = json.loads((Path(__file__).resolve().parents[1] / "control.json").read_text())


def record(device: dict) -> str:
    lines = [
        f"QID {device['qid']}",
        f"\tStatus:{device['status']}",
        "\tPCI Address:0000:01:00.0",
        "\tDev Link:Up",
    ]
    if device["status"] == "Ready":  # a record of another device stops here
        unit = CONTROL.get("dram_unit", "MB")
        dram = 32768 * (1024 if unit == "KB" else 1)
        lines += [
            "\tHW Version:2.0.0.0",
            "\tFW Version:1.22.0",
            f"\tFW IMAGE_VARIANT:{CONTROL.get('image_variant', 'AIC100.FW')}",
            f"\tDram Total:{dram} {unit}",
            f"\tNsp Total:{device['nsp_total']}",
            f"\tNsp Free:{device['nsp_total'] - device['busy']}",
            "\tSku Type:PCIe Pro",
            "\tDevice Capabilities:HybridBoot+,MDP+",
        ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    time.sleep(CONTROL.get("util_hang", 0))
    if not arguments or arguments[0] != "-q":
        sys.stderr.write("usage: qaic-util -q [-d QID]\n")
        return 1
    devices = CONTROL["devices"]
    if arguments[1:2] == ["-d"]:
        chosen = [device for device in devices if str(device["qid"]) == arguments[2]]
        if not chosen:
            sys.stderr.write(f"Device {arguments[2]} invalid\n")
            return 1
        devices = chosen
    print("\n".join(record(device) for device in devices))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
