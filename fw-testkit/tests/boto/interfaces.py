"""Interfaces as EC2 treats them, where moto does not: states, conflicts, limits, forced detachment, pages, filters."""

from drive import MISSING, client, code, interface, refused, until


def run(world):
    ec2 = client("ec2", world)
    eni, other = world["enis"][0], world["enis"][1]
    first, second = world["instances"]

    attach = lambda eni, instance, index: ec2.attach_network_interface(
        NetworkInterfaceId=eni, InstanceId=instance, DeviceIndex=index
    )
    attachment = attach(eni, first, 1)["AttachmentId"]
    assert attachment.startswith("eni-attach-"), attachment
    seen = interface(ec2, eni)
    assert seen["Status"] in ("attaching", "in-use"), seen
    assert seen["Attachment"]["AttachmentId"] == attachment, seen
    assert seen["Attachment"]["InstanceId"] == first and seen["Attachment"]["DeviceIndex"] == 1
    assert seen["Attachment"]["DeleteOnTermination"] is False
    assert seen["Attachment"]["AttachTime"].tzinfo is not None
    until("attached", lambda: interface(ec2, eni)["Attachment"]["Status"] == "attached")
    assert interface(ec2, eni)["Status"] == "in-use"

    # Nothing is stolen, and no position is taken twice.
    assert refused(ec2.attach_network_interface, NetworkInterfaceId=eni, InstanceId=second, DeviceIndex=1) == (
        "InvalidNetworkInterface.InUse",
        f"Interface: [{eni}] in use.",
    )
    assert refused(ec2.attach_network_interface, NetworkInterfaceId=other, InstanceId=first, DeviceIndex=1) == (
        "InvalidParameterValue",
        f"Instance '{first}' already has an interface attached at device index '1'.",
    )
    for call, arguments, expected in (
        (ec2.detach_network_interface, {"AttachmentId": f"eni-attach-{MISSING}"}, "InvalidAttachmentID.NotFound"),
        (ec2.detach_network_interface, {"AttachmentId": eni}, "InvalidNetworkInterfaceAttachmentId.Malformed"),
        (
            ec2.attach_network_interface,
            {"NetworkInterfaceId": other, "InstanceId": f"i-{MISSING}", "DeviceIndex": 1},
            "InvalidInstanceID.NotFound",
        ),
        (
            ec2.attach_network_interface,
            {"NetworkInterfaceId": f"eni-{MISSING}", "InstanceId": first, "DeviceIndex": 1},
            "InvalidNetworkInterfaceID.NotFound",
        ),
        (
            ec2.attach_network_interface,
            {"NetworkInterfaceId": world["elsewhere"], "InstanceId": first, "DeviceIndex": 2},
            "InvalidParameterCombination",
        ),
    ):
        assert code(call, **arguments) == expected, (arguments, expected)
    primary = next(
        one["Attachment"]["AttachmentId"]
        for one in ec2.describe_network_interfaces()["NetworkInterfaces"]
        if one.get("Attachment", {}).get("DeviceIndex") == 0
    )
    assert code(ec2.detach_network_interface, AttachmentId=primary) == "OperationNotPermitted"

    # One attribute a call; the primary key of what is changed is the attachment.
    change = ec2.modify_network_interface_attribute
    change(NetworkInterfaceId=eni, SourceDestCheck={"Value": False})
    change(NetworkInterfaceId=eni, Attachment={"AttachmentId": attachment, "DeleteOnTermination": True})
    change(NetworkInterfaceId=eni, Attachment={"AttachmentId": attachment, "DeleteOnTermination": False})
    two = {"SourceDestCheck": {"Value": False}, "Description": {"Value": "x"}}
    assert code(change, NetworkInterfaceId=eni, **two) == "InvalidParameterCombination"
    assert code(change, NetworkInterfaceId=eni) == "MissingParameter"
    assert interface(ec2, eni)["SourceDestCheck"] is False
    attribute = ec2.describe_network_interface_attribute(NetworkInterfaceId=eni, Attribute="attachment")
    assert attribute["Attachment"]["DeleteOnTermination"] is False, attribute

    # A takeover: detach, wait, attach elsewhere.
    ec2.detach_network_interface(AttachmentId=attachment)
    assert code(ec2.detach_network_interface, AttachmentId=attachment) == "IncorrectState"
    until("available", lambda: interface(ec2, eni)["Status"] == "available")
    assert "Attachment" not in interface(ec2, eni)
    moved = attach(eni, second, 1)["AttachmentId"]
    assert moved != attachment
    until("in use again", lambda: interface(ec2, eni)["Status"] == "in-use")
    assert interface(ec2, eni)["Attachment"]["InstanceId"] == second

    # A forced detachment leaves its device index unusable until the instance reboots.
    ec2.detach_network_interface(AttachmentId=moved, Force=True)
    until("available after force", lambda: interface(ec2, eni)["Status"] == "available")
    index = {"NetworkInterfaceId": eni, "InstanceId": second, "DeviceIndex": 1}
    assert code(ec2.attach_network_interface, **index) == "InvalidParameterValue"
    ec2.reboot_instances(InstanceIds=[second])
    ec2.attach_network_interface(**index)

    lists(ec2, world)
    permissions(world)


def lists(ec2, world):
    """Pages, filters, and what is refused in them."""
    whole = [one["NetworkInterfaceId"] for one in ec2.describe_network_interfaces()["NetworkInterfaces"]]
    pages = ec2.get_paginator("describe_network_interfaces").paginate(PaginationConfig={"PageSize": 5})
    parts = [[one["NetworkInterfaceId"] for one in page["NetworkInterfaces"]] for page in pages]
    assert len(parts) > 1 and sum(parts, []) == whole, parts
    assert code(ec2.describe_network_interfaces, NextToken="none") == "InvalidNextToken"
    assert code(ec2.describe_network_interfaces, Filters=[{"Name": "colour", "Values": ["red"]}]) == "InvalidParameterValue"
    by = lambda name, *values: [
        one["NetworkInterfaceId"]
        for one in ec2.describe_network_interfaces(Filters=[{"Name": name, "Values": list(values)}])["NetworkInterfaces"]
    ]
    eni = world["enis"][0]
    assert by("network-interface-id", eni) == [eni]
    assert by("attachment.instance-id", world["instances"][1], "i-0") != []
    assert by("tag:Name", "fw-exp*") == [eni]
    assert by("status", "no-such-status") == []
    # What the fake does not know is refused, not ignored.
    refusal = refused(ec2.describe_network_interfaces, IncludeManagedResources=True)
    assert refusal == ("UnknownParameter", "The parameter IncludeManagedResources is not recognized"), refusal
    assert code(ec2.describe_volumes) == "InvalidAction"


def permissions(world):
    eni, instance = world["enis"][0], world["instances"][0]
    allowed = client("ec2", world)
    attach = {"NetworkInterfaceId": eni, "InstanceId": instance, "DeviceIndex": 3}
    assert code(allowed.attach_network_interface, DryRun=True, **attach) == "DryRunOperation"
    denied = client("ec2", world, key="AKIAREADER")
    assert code(denied.attach_network_interface, DryRun=True, **attach) == "UnauthorizedOperation"
    assert code(denied.attach_network_interface, **attach) == "UnauthorizedOperation"
    assert interface(denied, eni)["NetworkInterfaceId"] == eni
    assert code(client("ec2", world, key="AKIANOBODY").describe_instances) == "AuthFailure"
    assert code(client("ec2", world, region="us-east-1").describe_instances) == "SignatureDoesNotMatch"
    # A service account's interface is not for us.
    managed = {"NetworkInterfaceId": world["managed"], "InstanceId": instance, "DeviceIndex": 3}
    assert code(allowed.attach_network_interface, **managed) == "OperationNotPermitted"
