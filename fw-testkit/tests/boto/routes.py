"""Route tables of VPCs and of the local gateway: black holes, conflicts, limits, who may only look."""

from drive import MISSING, client, code, until


def run(world):
    ec2 = client("ec2", world)
    exposed, ot = world["enis"][0], world["enis"][1]
    table, local = world["route_tables"][1], world["local_gateway_table"]

    def state():
        (found,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        return {
            route.get("DestinationCidrBlock", route.get("DestinationIpv6CidrBlock")): (
                route.get("NetworkInterfaceId", route.get("GatewayId")),
                route["State"],
            )
            for route in found["Routes"]
        }

    assert state()["0.0.0.0/0"] == (ot, "blackhole"), state()
    assert state()["10.1.0.0/16"] == ("local", "active")
    attached = ec2.attach_network_interface(NetworkInterfaceId=ot, InstanceId=world["instances"][0], DeviceIndex=2)
    until("active", lambda: state()["0.0.0.0/0"] == (ot, "active"))
    (found,) = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [world["subnets"][1]]}])["RouteTables"]
    assert found["RouteTableId"] == table and found["Associations"][0]["SubnetId"] == world["subnets"][1]
    assert [route["InstanceId"] for route in found["Routes"] if "InstanceId" in route] == [world["instances"][0]]
    black = [{"Name": "route.state", "Values": ["blackhole"]}]
    assert table not in [one["RouteTableId"] for one in ec2.describe_route_tables(Filters=black)["RouteTables"]]

    new = {"RouteTableId": table, "DestinationCidrBlock": "10.9.0.0/16"}
    ec2.create_route(NetworkInterfaceId=ot, **new)
    assert code(ec2.create_route, NetworkInterfaceId=ot, **new) == "RouteAlreadyExists"
    ec2.replace_route(GatewayId="igw-01234567890123456", **new)
    assert state()["10.9.0.0/16"] == ("igw-01234567890123456", "active")
    assert code(ec2.replace_route, NetworkInterfaceId=f"eni-{MISSING}", **new) == "InvalidNetworkInterfaceID.NotFound"
    assert code(ec2.replace_route, NetworkInterfaceId=exposed, **new) == "InvalidParameterValue"
    assert code(ec2.replace_route, NetworkInterfaceId=ot, GatewayId="igw-1", **new) == "InvalidParameterCombination"
    assert code(ec2.replace_route, DryRun=True, NetworkInterfaceId=ot, **new) == "DryRunOperation"
    ec2.delete_route(**new)
    assert code(ec2.delete_route, **new) == "InvalidRoute.NotFound"
    assert code(ec2.replace_route, NetworkInterfaceId=ot, **new) == "InvalidParameterValue"
    assert code(ec2.delete_route, RouteTableId=table, DestinationCidrBlock="10.1.0.0/16") == "InvalidParameterValue"
    six = {"RouteTableId": table, "DestinationIpv6CidrBlock": "::/0", "NetworkInterfaceId": ot}
    ec2.create_route(**six)
    assert state()["::/0"] == (ot, "active")

    (lists,) = ec2.describe_managed_prefix_lists()["PrefixLists"]
    entries = ec2.get_managed_prefix_list_entries(PrefixListId=lists["PrefixListId"])["Entries"]
    assert [entry["Cidr"] for entry in entries] == ["10.60.0.0/16"], entries
    by_list = {"RouteTableId": table, "DestinationPrefixListId": lists["PrefixListId"]}
    ec2.create_route(NetworkInterfaceId=ot, **by_list)

    local_gateway(ec2, world, local, exposed, ot)
    guest = client("ec2", world, key="AKIAGUEST")
    assert code(guest.describe_route_tables, RouteTableIds=[table]) == "InvalidRouteTableID.NotFound"
    assert guest.describe_local_gateway_route_tables()["LocalGatewayRouteTables"][0]["LocalGatewayRouteTableId"] == local
    assert guest.describe_instances()["Reservations"] == []
    assert code(guest.describe_network_interfaces, NetworkInterfaceIds=[exposed]) == "InvalidNetworkInterfaceID.NotFound"
    change = {"LocalGatewayRouteTableId": local, "DestinationCidrBlock": "10.1.0.0/16", "NetworkInterfaceId": exposed}
    assert code(guest.modify_local_gateway_route, **change) == "UnauthorizedOperation"
    ec2.detach_network_interface(AttachmentId=attached["AttachmentId"])
    until("black hole again", lambda: state()["0.0.0.0/0"] == (ot, "blackhole"))


def local_gateway(ec2, world, local, exposed, ot):
    (table,) = ec2.describe_local_gateway_route_tables(LocalGatewayRouteTableIds=[local])["LocalGatewayRouteTables"]
    assert table["Mode"] == "direct-vpc-routing" and table["OutpostArn"].endswith(world["outpost"]), table
    vpcs = ec2.describe_local_gateway_route_table_vpc_associations(
        Filters=[{"Name": "local-gateway-route-table-id", "Values": [local]}]
    )["LocalGatewayRouteTableVpcAssociations"]
    assert [one["VpcId"] for one in vpcs] == [world["vpcs"][0]], vpcs

    def routes(**filters):
        asked = [{"Name": name.replace("_", "-"), "Values": [value]} for name, value in filters.items()]
        found = ec2.search_local_gateway_routes(LocalGatewayRouteTableId=local, Filters=asked)["Routes"]
        return {route["DestinationCidrBlock"]: (route["Type"], route["State"]) for route in found}

    assert routes() == {
        "0.0.0.0/0": ("propagated", "active"),
        "10.1.0.0/16": ("static", "blackhole"),
        "10.2.0.0/16": ("static", "blackhole"),
    }, routes()
    assert list(routes(type="propagated")) == ["0.0.0.0/0"]
    ec2.attach_network_interface(NetworkInterfaceId=exposed, InstanceId=world["instances"][0], DeviceIndex=1)
    until("active", lambda: routes()["10.1.0.0/16"] == ("static", "active"))
    to = lambda network: {"LocalGatewayRouteTableId": local, "DestinationCidrBlock": network}
    made = ec2.create_local_gateway_route(NetworkInterfaceId=exposed, **to("10.8.0.0/16"))["Route"]
    assert made["State"] == "active" and made["NetworkInterfaceId"] == exposed, made
    assert code(ec2.create_local_gateway_route, NetworkInterfaceId=exposed, **to("10.8.0.0/16")) == "RouteAlreadyExists"
    assert code(ec2.create_local_gateway_route, NetworkInterfaceId=ot, **to("10.7.0.0/16")) == "InvalidParameterValue"
    assert code(ec2.create_local_gateway_route, NetworkInterfaceId=exposed, **to("fd00::/8")) == "InvalidParameterValue"
    assert code(ec2.modify_local_gateway_route, NetworkInterfaceId=exposed, **to("10.7.0.0/16")) == "InvalidRoute.NotFound"
    ec2.modify_local_gateway_route(NetworkInterfaceId=exposed, **to("10.8.0.0/16"))
    deleted = ec2.delete_local_gateway_route(**to("10.8.0.0/16"))["Route"]
    assert deleted["DestinationCidrBlock"] == "10.8.0.0/16", deleted
    assert code(ec2.delete_local_gateway_route, **to("10.8.0.0/16")) == "InvalidRoute.NotFound"
    for number in range(98):
        ec2.create_local_gateway_route(NetworkInterfaceId=exposed, **to(f"10.100.{number}.0/24"))
    assert code(ec2.create_local_gateway_route, NetworkInterfaceId=exposed, **to("10.99.0.0/16")) == "RouteLimitExceeded"
