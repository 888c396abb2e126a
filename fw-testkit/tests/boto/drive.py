"""Drives the fake of AWS, or moto, with boto3: a client that nobody here has written.

The first argument names the part; the standard input is a JSON object with the endpoint and the ids of the world. The part
`shared` prints what it saw, one JSON value a line, for a comparison; the other parts print their name when all is well.
"""

import json
import sys
import time
import xml.etree.ElementTree as ElementTree

import boto3
import botocore.config
import botocore.exceptions

REGION = "eu-central-1"
MISSING = "01234567890123456"

# The operations of which an answer was checked against the model.
checked = set()


def known_elements(shape):
    """What botocore's model lets an element of this shape contain: names and shapes."""
    if shape.type_name == "structure":
        return {
            member.serialization.get("name", name): member for name, member in shape.members.items()
        }
    if shape.type_name == "list":
        name = shape.member.serialization.get("name", "member")
        return {name: shape.member}
    return {}


def check_element(element, shape, path):
    """Nothing is in an answer that the service's model does not know."""
    known = known_elements(shape)
    for child in element:
        name = child.tag.rsplit("}", 1)[-1]
        assert name in known, f"{path}/{name} is not in the model of {shape.name}"
        check_element(child, known[name], f"{path}/{name}")


def check_answer(operation_model, response_dict, **_):
    """Runs before botocore reads an answer in XML."""
    if response_dict["status_code"] >= 300 or not response_dict["body"].lstrip().startswith(b"<"):
        return
    checked.add(operation_model.name)
    root = ElementTree.fromstring(response_dict["body"])
    shape = operation_model.output_shape
    if shape is None:
        return
    wrapper = shape.serialization.get("resultWrapper")
    for child in root:
        name = child.tag.rsplit("}", 1)[-1]
        if name in ("requestId", "ResponseMetadata"):
            continue
        if wrapper is not None:
            assert name == wrapper, name
            check_element(child, shape, wrapper)
            continue
        known = known_elements(shape)
        assert name in known, f"{name} is not in the model of {shape.name}"
        check_element(child, known[name], name)


def client(service, world, check=True, key="AKIAFIREWALL", token=None, retries=1, region=REGION, **config):
    made = boto3.client(
        service,
        region_name=region,
        endpoint_url=world["endpoint"],
        aws_access_key_id=key,
        aws_secret_access_key="secret",
        aws_session_token=token,
        config=botocore.config.Config(retries={"total_max_attempts": retries}, **config),
    )
    if check:
        made.meta.events.register("before-parse.*.*", check_answer)
    return made


def refused(call, **arguments):
    """The code and the message of an error."""
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    raise AssertionError(f"{arguments} was not refused")


def code(call, **arguments):
    return refused(call, **arguments)[0]


def until(what, look, seconds=20):
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


def interface(ec2, eni):
    (found,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[eni])["NetworkInterfaces"]
    return found


def main():
    import importlib.util
    import os

    part = sys.argv[1]
    world = json.load(sys.stdin)
    here = os.path.dirname(os.path.abspath(__file__))
    spec = importlib.util.spec_from_file_location(part, os.path.join(here, f"{part}.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["drive"] = sys.modules["__main__"]
    spec.loader.exec_module(module)
    module.run(world)
    assert checked, "no answer was checked"
    print(part)


if __name__ == "__main__":
    main()
