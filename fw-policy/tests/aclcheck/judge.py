"""Judges packets by aclcheck of Aerleon.

Reads a JSON object a line and answers each with one. A policy is {"policy": YAML, "definitions": YAML}, and its answer {"terms": N}; a
packet is {"src", "dst", "proto"} and, where the protocol has ports, "sport" and "dport", and its answer {"term": NAME, "action": NAME} of
the first term that matches, or {"term": null}.
"""

import json
import sys

from aerleon.lib import aclcheck, naming, yaml


def load(question):
    definitions = naming.Naming()
    definitions.ParseYaml(question["definitions"], "definitions.yaml")
    return yaml.ParsePolicy(question["policy"], filename="policy.yaml", definitions=definitions)


def judge(policy, packet):
    check = aclcheck.AclCheck(
        policy,
        src=packet["src"],
        dst=packet["dst"],
        sport=packet.get("sport", "any"),
        dport=packet.get("dport", "any"),
        proto=packet["proto"],
    )
    matches = check.ExactMatches()
    if not matches:
        return {"term": None}
    return {"term": matches[0].term, "action": matches[0].action}


def main():
    policy = None
    for line in sys.stdin:
        question = json.loads(line)
        if "policy" in question:
            policy = load(question)
            answer = {"terms": sum(len(terms) for _, terms in policy.filters)}
        else:
            answer = judge(policy, question)
        print(json.dumps(answer), flush=True)


main()
