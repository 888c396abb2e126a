"""What the fake and moto must both say: the same questions to either, answers with ids by name. Where moto is wrong nothing is
asked here; docs/aws-fake.md lists it."""

import json

from drive import MISSING, client, refused, until


def prepare(world, ec2, scaling):
    """Makes in moto what the Rust test makes in the fake."""
    vpc = ec2.create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    zone = "eu-central-1a"
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.1.1.0/24", AvailabilityZone=zone)["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="firewall", Description="firewall", VpcId=vpc)["GroupId"]
    eni = ec2.create_network_interface(SubnetId=subnet, PrivateIpAddress="10.1.1.10", Groups=[group])
    image = ec2.describe_images(Owners=["amazon"])["Images"][0]["ImageId"]
    launch = {"ImageId": image, "InstanceType": "c5.xlarge"}
    (instance,) = ec2.run_instances(SubnetId=subnet, MinCount=1, MaxCount=1, **launch)["Instances"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    scaling.create_launch_configuration(LaunchConfigurationName="firewall", **launch)
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="plain",
        LaunchConfigurationName="firewall",
        MinSize=0,
        MaxSize=2,
        DesiredCapacity=1,
        VPCZoneIdentifier=subnet,
    )
    world.update(
        vpc=vpc,
        subnet=subnet,
        security_group=group,
        eni=eni["NetworkInterface"]["NetworkInterfaceId"],
        instance=instance["InstanceId"],
        route_table=table,
    )


def run(world):
    ec2, scaling = client("ec2", world, check="moto" not in world), client("autoscaling", world, check="moto" not in world)
    if "moto" in world:
        prepare(world, ec2, scaling)
        from drive import checked

        checked.add("nothing: moto answers with elements that models do not know")
    names = {world[key]: key for key in ("vpc", "subnet", "security_group", "eni", "instance", "route_table")}

    def named(value):
        if isinstance(value, dict):
            return {key: named(one) for key, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [named(one) for one in value]
        if isinstance(value, str):
            for known, name in names.items():
                value = value.replace(known, name)
        return value

    def say(what, value):
        print(json.dumps({what: named(value)}, sort_keys=True, default=str))

    def pick(found, *keys):
        return {key: found.get(key) for key in keys}

    def interface():
        return ec2.describe_network_interfaces(NetworkInterfaceIds=[world["eni"]])["NetworkInterfaces"][0]

    own = ("NetworkInterfaceId", "SubnetId", "VpcId", "AvailabilityZone", "Status", "SourceDestCheck", "InterfaceType")
    say("free", pick(interface(), *own, "PrivateIpAddress"))
    say("addresses", [pick(one, "PrivateIpAddress", "Primary") for one in interface()["PrivateIpAddresses"]])
    say("groups", interface()["Groups"])
    say("attachment of a free one", interface().get("Attachment"))

    missing = f"eni-{MISSING}"
    attach = {"NetworkInterfaceId": world["eni"], "InstanceId": world["instance"], "DeviceIndex": 1}
    for what, call, arguments in (
        ("missing interface", ec2.describe_network_interfaces, {"NetworkInterfaceIds": [missing]}),
        ("missing attachment", ec2.detach_network_interface, {"AttachmentId": f"eni-attach-{MISSING}"}),
        ("missing instance", ec2.describe_instances, {"InstanceIds": [f"i-{MISSING}"]}),
        ("missing subnet", ec2.describe_subnets, {"SubnetIds": [f"subnet-{MISSING}"]}),
        ("missing table", ec2.describe_route_tables, {"RouteTableIds": [f"rtb-{MISSING}"]}),
        ("dry run", ec2.attach_network_interface, {"DryRun": True, **attach}),
        ("dry termination", ec2.terminate_instances, {"DryRun": True, "InstanceIds": [world["instance"]]}),
    ):
        say(what, refused(call, **arguments))

    attachment = ec2.attach_network_interface(**attach)["AttachmentId"]
    say("attachment id", attachment[: len("eni-attach-")])
    until("in use", lambda: interface()["Status"] == "in-use" and interface()["Attachment"]["Status"] == "attached")
    say("in use", pick(interface(), *own))
    kept = pick(interface()["Attachment"], "InstanceId", "DeviceIndex", "Status")
    say("attachment", kept | {"AttachmentId": interface()["Attachment"]["AttachmentId"] == attachment})
    (instance,) = ec2.describe_instances(InstanceIds=[world["instance"]])["Reservations"][0]["Instances"]
    say("instance", pick(instance, "InstanceId", "InstanceType", "State", "SubnetId", "VpcId"))
    say("its zone", instance["Placement"]["AvailabilityZone"])
    attached = {one["Attachment"]["DeviceIndex"]: one["NetworkInterfaceId"] for one in instance["NetworkInterfaces"]}
    say("its interface", attached[1])
    by_instance = [{"Name": "attachment.instance-id", "Values": [world["instance"]]}]
    say("by filter", len(ec2.describe_network_interfaces(Filters=by_instance)["NetworkInterfaces"]))
    ec2.modify_network_interface_attribute(NetworkInterfaceId=world["eni"], SourceDestCheck={"Value": False})
    say("check", interface()["SourceDestCheck"])
    ec2.detach_network_interface(AttachmentId=attachment)
    until("available", lambda: interface()["Status"] == "available")
    say("detached", pick(interface(), "NetworkInterfaceId", "Status"))

    subnet = ec2.describe_subnets(SubnetIds=[world["subnet"]])["Subnets"][0]
    say("subnet", pick(subnet, "SubnetId", "VpcId", "CidrBlock", "AvailabilityZone", "State"))
    say("vpc", pick(ec2.describe_vpcs(VpcIds=[world["vpc"]])["Vpcs"][0], "VpcId", "CidrBlock", "State", "IsDefault"))
    (kind,) = ec2.describe_instance_types(InstanceTypes=["c5.xlarge"])["InstanceTypes"]
    say("type", pick(kind["NetworkInfo"], "MaximumNetworkInterfaces", "Ipv4AddressesPerInterface", "Ipv6Supported"))
    say("vcpus", [kind["VCpuInfo"]["DefaultVCpus"], kind["MemoryInfo"]["SizeInMiB"], kind["Hypervisor"]])

    routes(world, ec2, say)
    groups(scaling, say)


def routes(world, ec2, say):
    route = {"RouteTableId": world["route_table"], "DestinationCidrBlock": "10.9.0.0/16"}

    def listed():
        found = ec2.describe_route_tables(RouteTableIds=[world["route_table"]])["RouteTables"][0]["Routes"]
        keys = ("DestinationCidrBlock", "NetworkInterfaceId", "GatewayId", "Origin")
        found.sort(key=lambda one: one["DestinationCidrBlock"])
        return [{key: one.get(key) for key in keys} for one in found]

    say("routes of a new table", listed())
    ec2.create_route(NetworkInterfaceId=world["eni"], **route)
    say("routes", listed())
    ec2.replace_route(NetworkInterfaceId=world["eni"], **route)
    ec2.delete_route(**route)
    say("deleted", listed())
    say("deleted again", refused(ec2.delete_route, **route))
    say("replaced", refused(ec2.replace_route, NetworkInterfaceId=world["eni"], **route))


def groups(scaling, say):
    (group,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["plain"])["AutoScalingGroups"]
    say("group", {key: group[key] for key in ("MinSize", "MaxSize", "DesiredCapacity", "HealthCheckType", "AvailabilityZones")})

    def serving():
        (found,) = scaling.describe_auto_scaling_instances()["AutoScalingInstances"]
        return found if found["LifecycleState"] == "InService" else None

    instance = until("in service", serving)
    keys = ("AutoScalingGroupName", "LifecycleState", "InstanceType", "AvailabilityZone", "ProtectedFromScaleIn")
    say("member", {key: instance[key] for key in keys})
    say("health", instance["HealthStatus"].upper())
    say("hooks", scaling.describe_lifecycle_hooks(AutoScalingGroupName="plain")["LifecycleHooks"])
    say("no such group", scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["none"])["AutoScalingGroups"])
