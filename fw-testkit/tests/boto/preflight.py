"""What is asked before a takeover: types and their limits, the Outpost and its capacity, groups, subnets."""

from datetime import datetime, timedelta, timezone

import botocore.model
from drive import client, code

# Of the protocols that CloudWatch knows, botocore takes JSON. The SDK for Rust takes this one, and so does the fake.
botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS = (
    "smithy-rpc-v2-cbor",
    *botocore.model.PRIORITY_ORDERED_SUPPORTED_PROTOCOLS,
)


def run(world):
    ec2, outposts, cloudwatch = client("ec2", world), client("outposts", world), client("cloudwatch", world)
    types = ec2.describe_instance_types(InstanceTypes=["c5.xlarge", "c5.4xlarge"])["InstanceTypes"]
    limits = {one["InstanceType"]: one["NetworkInfo"]["MaximumNetworkInterfaces"] for one in types}
    assert limits == {"c5.xlarge": 4, "c5.4xlarge": 8}, limits
    assert code(ec2.describe_instance_types, InstanceTypes=["c99.huge"]) == "InvalidInstanceType"

    (group,) = ec2.describe_security_groups(GroupIds=[world["groups"][0]])["SecurityGroups"]
    assert group["IpPermissions"][0]["IpProtocol"] == "-1", group
    assert group["IpPermissionsEgress"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]
    assert code(ec2.describe_security_groups, GroupIds=["sg-0"]) == "InvalidGroup.NotFound"
    (placement,) = ec2.describe_placement_groups(GroupNames=["firewall"])["PlacementGroups"]
    assert (placement["Strategy"], placement["SpreadLevel"]) == ("spread", "host"), placement
    assert code(ec2.describe_placement_groups, GroupNames=["none"]) == "InvalidPlacementGroup.Unknown"
    (subnet,) = ec2.describe_subnets(SubnetIds=[world["subnets"][1]])["Subnets"]
    assert subnet["CidrBlock"] == "10.1.1.0/24" and subnet["OutpostArn"].endswith(world["outpost"]), subnet
    vpcs = ec2.describe_vpcs(VpcIds=world["vpcs"])["Vpcs"]
    assert sorted(vpc["CidrBlock"] for vpc in vpcs) == [f"10.{number}.0.0/16" for number in range(4)]

    (outpost,) = outposts.list_outposts()["Outposts"]
    assert outpost["OutpostId"] == world["outpost"] and outpost["LifeCycleStatus"] == "ACTIVE", outpost
    assert outposts.list_outposts(AvailabilityZoneFilter=["eu-central-1b"])["Outposts"] == []
    assert outposts.get_outpost(OutpostId=world["outpost"])["Outpost"]["OutpostArn"] == outpost["OutpostArn"]
    listed = outposts.get_outpost_instance_types(OutpostId=outpost["OutpostArn"])["InstanceTypes"]
    assert [one["InstanceType"] for one in listed] == ["c5.4xlarge", "c5.xlarge"], listed
    assert code(outposts.get_outpost, OutpostId="op-01234567890123456") == "NotFoundException"

    now = datetime.now(timezone.utc)
    asked = {"StartTime": now - timedelta(minutes=15), "EndTime": now}

    def metric(kind):
        return {
            "Namespace": "AWS/Outposts",
            "MetricName": "AvailableInstanceType_Count",
            "Dimensions": [
                {"Name": "InstanceType", "Value": kind},
                {"Name": "OutpostId", "Value": world["outpost"]},
            ],
        }

    query = lambda name, kind: {"Id": name, "MetricStat": {"Metric": metric(kind), "Period": 300, "Stat": "Average"}}
    results = cloudwatch.get_metric_data(MetricDataQueries=[query("a", "c5.xlarge"), query("b", "c5.large")], **asked)
    values = {one["Id"]: one["Values"] for one in results["MetricDataResults"]}
    # One of each type runs already; nothing is reported of a type that the rack has no slots for.
    assert values == {"a": [3.0], "b": []}, values
    assert results["MetricDataResults"][0]["Timestamps"][0] <= now
    points = cloudwatch.get_metric_statistics(**metric("c5.4xlarge"), Period=300, Statistics=["Average"], **asked)
    assert [point["Average"] for point in points["Datapoints"]] == [1.0], points
    backwards = {"StartTime": now, "EndTime": now - timedelta(minutes=15)}
    refused = code(cloudwatch.get_metric_data, MetricDataQueries=[query("a", "c5.xlarge")], **backwards)
    assert refused == "InvalidParameterCombination", refused
    assert code(client("cloudwatch", world, key="AKIANOBODY").get_metric_data, MetricDataQueries=[], **asked) == "UnrecognizedClientException"
    assert code(client("outposts", world, key="AKIANOBODY").list_outposts) == "UnrecognizedClientException"
