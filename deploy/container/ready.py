"""Ends with 0 when the service of this container says that it is ready: the image has no curl."""

import http.client
import sys

connection = http.client.HTTPConnection("127.0.0.1", 8000, timeout=4)
connection.request("GET", "/readyz")
sys.exit(connection.getresponse().status != 200)
