"""Runs the example of docs/access-verify.md on a list of tokens from standard input; prints claims, or null for a refusal."""

import json
import sys

import jwt
from verify import verify

results = []
for token in json.load(sys.stdin):
    try:
        results.append(verify({"cf-access-jwt-assertion": token}))
    except jwt.PyJWTError:
        results.append(None)
print(json.dumps(results))
