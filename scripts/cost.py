"""Estimate the monthly cost of a deployment from Azure's list prices, or from prices that you give.

Usage: python3 cost.py premium [--sku EP1] [--instances 1]
       python3 cost.py container-apps [--cores 2] [--busy-hours 730] [--idle-hours 0] [--requests 0]
Both accept --region, --currency, and --prices NAME=PRICE... to use instead of Azure's. No login is needed.

The estimate excludes storage, logs and traffic, the discounts of your contract, and the free amounts of Container Apps.
"""

import argparse
import json
import os
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass
from typing import Any

# https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
PRICES = "https://prices.azure.com/api/retail/prices"
TIMEOUT_S = 30.0
MONTH_HOURS = 730
HOUR_S = 3600
MILLION = 1_000_000
# Cores and GiB of memory of an instance, by size.
SIZES = {"EP1": (1, 3.5), "EP2": (2, 7.0), "EP3": (4, 14.0)}


@dataclass(frozen=True, slots=True)
class Meter:
    """The fields that identify a price in Azure's price list."""

    service: str
    product: str
    name: str


_APPS = ("Azure Container Apps", "Azure Container Apps")
METERS = {
    "premium": {
        "core-hour": Meter("Functions", "Premium Functions", "Premium vCPU Duration"),
        "gib-hour": Meter("Functions", "Premium Functions", "Premium Memory Duration"),
    },
    "container-apps": {
        "busy-core-second": Meter(*_APPS, "Standard vCPU Active Usage"),
        "idle-core-second": Meter(*_APPS, "Standard vCPU Idle Usage"),
        "busy-gib-second": Meter(*_APPS, "Standard Memory Active Usage"),
        "idle-gib-second": Meter(*_APPS, "Standard Memory Idle Usage"),
        "million-requests": Meter(*_APPS, "Standard Requests"),
    },
}


def ask(meter: Meter, region: str, currency: str, url: str) -> float:
    """Return the list price of a meter; of several tiers, the highest price, which excludes a free first tier.

    Raises:
        OSError: the price list cannot be read.
        LookupError: the list has no price for this meter in this region.
    """
    conditions = {
        "serviceName": meter.service,
        "productName": meter.product,
        "meterName": meter.name,
        "armRegionName": region,
        "priceType": "Consumption",
    }
    query = {
        "currencyCode": f"'{currency}'",
        "$filter": " and ".join(f"{name} eq '{value}'" for name, value in conditions.items()),
    }
    request = urllib.request.Request(f"{url}?{urllib.parse.urlencode(query)}")  # noqa: S310
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
        items: list[dict[str, Any]] = json.load(answer)["Items"]
    prices = [float(item["retailPrice"]) for item in items if item["meterName"] == meter.name]
    if not any(prices):
        raise LookupError(f"no price of {meter.name!r} in {region!r}: is that a region's name, such as westeurope?")
    return max(prices)


def amounts(options: argparse.Namespace) -> dict[str, float]:
    """Return the monthly quantity of each meter."""
    if options.host == "premium":
        cores, memory = SIZES[options.sku]
        hours = options.instances * MONTH_HOURS
        return {"core-hour": cores * hours, "gib-hour": memory * hours}
    busy, idle = options.busy_hours * HOUR_S, options.idle_hours * HOUR_S
    return {
        "busy-core-second": options.cores * busy,
        "idle-core-second": options.cores * idle,
        "busy-gib-second": 2 * options.cores * busy,
        "idle-gib-second": 2 * options.cores * idle,
        "million-requests": options.requests / MILLION,
    }


def _price(text: str) -> tuple[str, float]:
    name, equals, value = text.partition("=")
    known = [one for meters in METERS.values() for one in meters]
    if not equals or name not in known:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=PRICE with a name of {', '.join(known)}")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{value!r} is not a number") from None


def _amount(text: str) -> float:
    value = float(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is below 0")
    return value


def arguments(words: list[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    hosts = parser.add_subparsers(dest="host", required=True)
    premium = hosts.add_parser("premium")
    premium.add_argument("--sku", choices=SIZES, default="EP1")
    premium.add_argument("--instances", type=_amount, default=1, help="on average over the month")
    apps = hosts.add_parser("container-apps")
    apps.add_argument("--cores", type=_amount, default=2, help="of an instance; memory is twice as many GiB")
    apps.add_argument("--busy-hours", type=_amount, default=MONTH_HOURS, help="of all instances together")
    apps.add_argument("--idle-hours", type=_amount, default=0, help="of instances that always run and serve nothing")
    apps.add_argument("--requests", type=_amount, default=0)
    for one in (premium, apps):
        one.add_argument("--region", default="westeurope")
        one.add_argument("--currency", default="USD")
        one.add_argument("--prices", type=_price, nargs="+", default=[], metavar="NAME=PRICE")
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    """Print the estimate; return the exit status, 1 if a price is missing."""
    options = arguments(words)
    given = dict(options.prices)
    url = os.environ.get("PRICES_URL", PRICES)
    rows = []
    total = 0.0
    for name, amount in amounts(options).items():
        if amount == 0:
            continue
        meter = METERS[options.host][name]
        try:
            price = given[name] if name in given else ask(meter, options.region, options.currency, url)
        except (OSError, LookupError, ValueError, KeyError) as error:
            print(f"error: {error}", file=sys.stderr)
            print(f"  Give the price from Azure's page instead: --prices {name}=...", file=sys.stderr)
            return 1
        total += amount * price
        rows.append(f"| {name} | {amount:g} | {price:g} | {amount * price:.2f} |")
    print(f"| meter | amount | {options.currency} each | {options.currency} a month |\n|---|---|---|---|")
    print("\n".join([*rows, f"| total | | | {total:.2f} |"]))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
