"""Auto Scaling: hooks that are completed too early, in time and too late, heartbeats, replacement, which moto has none of."""

from drive import client, code, refused, until


def run(world):
    scaling, ec2 = client("autoscaling", world), client("ec2", world)
    group, launch, terminate = world["group"], world["launch_hook"], world["terminate_hook"]

    def states():
        listed = scaling.describe_auto_scaling_instances()["AutoScalingInstances"]
        return {one["InstanceId"]: one["LifecycleState"] for one in listed}

    def complete(instance, hook, result="CONTINUE", **more):
        named = {"AutoScalingGroupName": group, "LifecycleHookName": hook, "LifecycleActionResult": result}
        return scaling.complete_lifecycle_action(InstanceId=instance, **named, **more)

    until("two instances wait", lambda: sorted(states().values()) == ["Pending:Wait"] * 2)
    first, second = sorted(states())
    hooks = {hook["LifecycleHookName"]: hook for hook in scaling.describe_lifecycle_hooks(AutoScalingGroupName=group)["LifecycleHooks"]}
    assert hooks[launch]["LifecycleTransition"] == "autoscaling:EC2_INSTANCE_LAUNCHING", hooks
    assert hooks[launch]["DefaultResult"] == "ABANDON" and hooks[terminate]["DefaultResult"] == "CONTINUE"
    assert hooks[terminate]["GlobalTimeout"] == 100 * hooks[terminate]["HeartbeatTimeout"]
    assert code(scaling.describe_lifecycle_hooks, AutoScalingGroupName="none") == "ValidationError"

    # Too early, with another hook, and too late.
    nothing = ("ValidationError", f"No active Lifecycle Action found with instance ID {first}")
    assert refused(complete, instance=first, hook=terminate) == nothing
    beat = {"AutoScalingGroupName": group, "LifecycleHookName": launch, "InstanceId": first}
    scaling.record_lifecycle_action_heartbeat(**beat)
    complete(first, launch)
    assert refused(complete, instance=first, hook=launch) == nothing
    assert refused(scaling.record_lifecycle_action_heartbeat, **beat) == nothing
    until("in service", lambda: states()[first] == "InService")

    # A launch that is given up is replaced.
    complete(second, launch, "ABANDON")
    until("another is launched", lambda: second not in states() and len(states()) == 2)
    (third,) = set(states()) - {first}
    until("it waits", lambda: states()[third] == "Pending:Wait")
    complete(third, launch)

    (described,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[group])["AutoScalingGroups"]
    assert described["DesiredCapacity"] == 2 and described["InstanceMaintenancePolicy"]["MaxHealthyPercentage"] == 100
    assert {one["InstanceId"] for one in described["Instances"]} == {first, third}
    assert {one["HealthStatus"] for one in described["Instances"]} == {"Healthy"}
    assert scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["none"])["AutoScalingGroups"] == []

    # Unhealthy: the old one waits in Terminating:Wait, runs and keeps its interface while the other is launched.
    ec2.attach_network_interface(NetworkInterfaceId=world["enis"][0], InstanceId=first, DeviceIndex=1)
    until("third serves", lambda: states()[third] == "InService")
    scaling.set_instance_health(InstanceId=first, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False)
    until("both exist", lambda: states().get(first) == "Terminating:Wait" and len(states()) == 3)
    (old,) = ec2.describe_instances(InstanceIds=[first])["Reservations"][0]["Instances"]
    assert old["State"]["Name"] == "running", old
    assert world["enis"][0] in [one["NetworkInterfaceId"] for one in old["NetworkInterfaces"]]
    complete(first, terminate)
    until("it is gone", lambda: first not in states())
    until("it is over", lambda: ec2.describe_instances(InstanceIds=[first])["Reservations"][0]["Instances"][0]["State"]["Name"] == "terminated")

    activity = scaling.terminate_instance_in_auto_scaling_group(InstanceId=third, ShouldDecrementDesiredCapacity=True)
    assert activity["Activity"]["StatusCode"] == "InProgress", activity
    gone = {"InstanceId": first, "ShouldDecrementDesiredCapacity": False}
    assert code(scaling.terminate_instance_in_auto_scaling_group, **gone) == "ValidationError"
    assert code(scaling.set_instance_health, InstanceId=first, HealthStatus="Unhealthy") == "ValidationError"
    assert code(scaling.describe_policies) == "InvalidAction"
    assert code(scaling.describe_auto_scaling_groups, Filters=[{"Name": "colour", "Values": ["red"]}]) == "InvalidParameterValue"
