"""Serves one OpenStack API on loopback from one process.

    serve.py PORT keystone|neutron|barbican|octavia|nova [--no-traffic] [-- ARGUMENTS OF THE SERVICE]

Octavia's controller worker runs in the process of its API: they talk over oslo.messaging's in-memory transport, so there is no message broker.
"""

import argparse
import importlib
import os
import sys

APPLICATIONS = {
    "keystone": "keystone.wsgi.api",
    "neutron": "neutron.wsgi.api",
    "octavia": "octavia.wsgi.api",
    "nova": "nova.wsgi.osapi_compute",
}


def application(service, environment):
    if service == "barbican":
        from paste import deploy

        return deploy.loadapp(f"config:{environment}/etc/barbican/barbican-api-paste.ini")
    return importlib.import_module(APPLICATIONS[service]).application


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("service")
    parser.add_argument("--no-traffic", action="store_true")
    end = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    asked = parser.parse_args(sys.argv[1:end])
    # oslo.config reads these.
    sys.argv = [asked.service] + sys.argv[end + 1 :]
    if asked.service == "octavia":
        # Before Octavia loads its drivers.
        import compute

        compute.stand_in()
        if not asked.no_traffic:
            import amphora

            amphora.stand_in()
    served = application(asked.service, os.path.dirname(os.path.dirname(sys.executable)))
    if asked.service == "octavia":
        from octavia.controller.queue.v2 import consumer
        from oslo_config import cfg

        consumer.ConsumerService(0, cfg.CONF).run()
        if not asked.no_traffic:
            import heartbeat

            heartbeat.start()
    import waitress

    waitress.serve(served, host="127.0.0.1", port=asked.port, threads=16, ident=None)


if __name__ == "__main__":
    main()
