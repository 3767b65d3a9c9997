"""Who answers a request, and how what nobody answers is refused: in the client's own form."""

import json
import urllib.error
import urllib.request
from xml.etree import ElementTree

import boto3
import pytest
from botocore.exceptions import ClientError

from byoc.local import protocol
from byoc.local.operations import OPERATIONS


def post(url, body=b"", **headers):
    """Status, headers and body of one raw request."""
    names = {"Content-Type": "application/x-amz-json-1.1"}
    names |= {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, body, names, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


def test_every_operation_that_is_not_done_is_refused_by_name(cloud):
    names = set(protocol.service().operation_names) - set(OPERATIONS["sagemaker"])
    assert "CreateCompilationJob" in names
    for name in sorted(names):
        status, headers, body = post(cloud.url, b"{}", X_Amz_Target=f"SageMaker.{name}")
        content = json.loads(body)
        assert status == 501
        assert content["__type"] == headers["x-amzn-ErrorType"] == "NotImplementedException"
        assert f"does not implement SageMaker's {name}:" in content["message"]


@pytest.mark.parametrize(
    ("service", "method", "arguments", "named"),
    [
        ("sagemaker", "list_compilation_jobs", {}, "SageMaker's ListCompilationJobs"),
        (
            "iam",
            "simulate_custom_policy",
            {"PolicyInputList": ["{}"], "ActionNames": ["s3:GetObject"]},
            "iam: SimulateCustomPolicy",
        ),
        ("cloudtrail", "list_imports", {}, "cloudtrail: ListImports"),
        ("sqs", "list_message_move_tasks", {"SourceArn": "arn:aws:sqs:x"}, "sqs: ListMessage"),
        ("sns", "get_data_protection_policy", {"ResourceArn": "x"}, "sns: GetDataProtection"),
        ("ec2", "describe_capacity_reservations", {}, "ec2: DescribeCapacityReservations"),
        ("kms", "describe_custom_key_stores", {}, "kms: DescribeCustomKeyStores"),
        ("events", "list_endpoints", {}, "events: ListEndpoints"),
        ("stepfunctions", "redrive_execution", {"executionArn": "x"}, "states: RedriveExecution"),
        ("route53", "list_cidr_collections", {}, "route53: GET"),
        ("s3", "list_bucket_metrics_configurations", {"Bucket": "bucket"}, "GET with ?metrics"),
        ("service-quotas", "list_services", {}, "servicequotas: ListServices"),
        ("cloudwatch", "list_metric_streams", {}, "ListMetricStreams"),
        ("ecr", "describe_repository_creation_templates", {}, "ecr: DescribeRepositoryCreation"),
        ("braket", "search_devices", {"filters": []}, "braket: POST /devices"),
        ("efs", "describe_account_preferences", {}, "elasticfilesystem: GET /2015-02-01/account"),
        ("lambda", "get_runtime_management_config", {"FunctionName": "x"}, "lambda: GET"),
    ],
)
def test_a_client_understands_the_refusal_and_does_not_repeat(
    cloud, service, method, arguments, named
):
    if service == "sagemaker-runtime":
        arguments = {"EndpointName": "e", **arguments}
    with pytest.raises(ClientError) as caught:
        getattr(cloud.client(service), method)(**arguments)
    response = caught.value.response
    assert response["Error"]["Code"] == "NotImplementedException"
    assert response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert response["ResponseMetadata"].get("RetryAttempts", 0) == 0
    assert "does not implement" in response["Error"]["Message"]
    assert named in response["Error"]["Message"]
    assert "<" not in response["Error"]["Message"]


def test_the_refusal_of_a_query_service_is_xml(cloud):
    signed = f"AWS4-HMAC-SHA256 Credential={cloud.account}/20260101/us-east-1/iam/aws4_request"
    status, _, body = post(
        cloud.url,
        b"Action=NoSuchThing&Version=2010-05-08",
        Content_Type="application/x-www-form-urlencoded; charset=utf-8",
        Authorization=signed,
    )
    assert status in (400, 501)
    error = ElementTree.fromstring(body).find(".//{*}Error")
    assert error.find("{*}Code").text
    assert "NoSuchThing" in error.find("{*}Message").text


def test_an_operation_that_sagemaker_does_not_have(cloud):
    status, headers, body = post(cloud.url, b"{}", X_Amz_Target="SageMaker.MakeCoffee")
    assert (status, headers["x-amzn-ErrorType"]) == (400, "UnknownOperationException")
    assert "MakeCoffee" in json.loads(body)["message"]


@pytest.mark.parametrize("body", [b"{", b"[]", b"\xff"])
def test_a_broken_body_is_a_readable_error(cloud, body):
    status, headers, content = post(cloud.url, body, X_Amz_Target="SageMaker.CreateModel")
    assert (status, json.loads(content)["__type"]) == (400, "SerializationException")
    assert headers["x-amzn-RequestId"]


@pytest.mark.parametrize("kind", ["invocations", "invocations-response-stream"])
@pytest.mark.parametrize("name", ["%00%2e%2f", "%2F", "a%2Fb", ""])
def test_a_name_that_no_endpoint_can_have_is_an_error_of_the_runtime(cloud, name, kind):
    status, headers, content = post(f"{cloud.url}/endpoints/{name}/{kind}", b"1")
    assert (status, headers["x-amzn-ErrorType"]) == (400, "ValidationError")
    assert json.loads(content)["message"]


@pytest.mark.parametrize("token", ["9" * 5000, "\u0661", "-1"])
@pytest.mark.parametrize(
    ("service", "operation", "member", "said"),
    [
        ("service-quotas", "list_service_quotas", "NextToken", "InvalidPaginationToken"),
        ("resourcegroupstaggingapi", "get_resources", "PaginationToken", "PaginationTokenExpired"),
        ("cloudtrail", "lookup_events", "NextToken", "InvalidNextToken"),
        ("ecr", "describe_repositories", "nextToken", "InvalidParameter"),
    ],
)
def test_a_token_that_nobody_gave_out_is_refused(cloud, service, operation, member, said, token):
    more = {"ServiceCode": "sagemaker"} if service == "service-quotas" else {}
    with pytest.raises(ClientError) as caught:
        getattr(cloud.client(service), operation)(**{member: token}, **more)
    # the model of some services refuses it before: by its length or pattern
    assert caught.value.response["Error"]["Code"] in (f"{said}Exception", "ValidationException")


def test_a_client_shows_violations_in_awss_words(cloud):
    with pytest.raises(ClientError) as caught:
        cloud.sagemaker.describe_model(ModelName="under_score")
    assert caught.value.response["Error"]["Code"] == "ValidationException"
    assert caught.value.response["Error"]["Message"].startswith(
        "1 validation error detected: Value 'under_score' at 'modelName' failed to satisfy"
    )
    assert caught.value.response["ResponseMetadata"]["RequestId"]


def test_the_account_is_the_access_key_or_whom_moto_knows(cloud, clients):
    def whose(**keys):
        sts = clients.client(
            "sts",
            endpoint_url=cloud.url,
            region_name="us-east-1",
            aws_secret_access_key="x",
            **keys,
        )
        return sts.get_caller_identity()["Account"]

    assert whose(aws_access_key_id="000012345678") == "000012345678"
    assert whose(aws_access_key_id="AKIAIOSFODNN7EXAMPLE") == "123456789012"


def test_an_assumed_role_works_in_the_roles_account(
    cloud, clients, open_cloud, toy_tag, make_role, other_account
):
    other = open_cloud(other_account)
    iam, guest = other.client("iam"), f"guest-{cloud.account}"
    arn = make_role(iam, guest)
    everything = "arn:aws:iam::aws:policy/AdministratorAccess"
    iam.attach_role_policy(RoleName=guest, PolicyArn=everything)
    keys = cloud.client("sts").assume_role(RoleArn=arn, RoleSessionName="test")["Credentials"]
    session = boto3.Session(
        keys["AccessKeyId"], keys["SecretAccessKey"], keys["SessionToken"], "us-east-1"
    )
    name = f"from-{cloud.account}"
    session.client("sagemaker", endpoint_url=cloud.url).create_model(
        ModelName=name,
        PrimaryContainer={"Image": other.push(toy_tag)},
        ExecutionRoleArn=other.role,
    )
    assert other.sagemaker.describe_model(ModelName=name)["ModelName"] == name
    with pytest.raises(ClientError):
        cloud.sagemaker.describe_model(ModelName=name)


def test_a_presigned_address_belongs_to_its_account(cloud):
    cloud.put("secret.txt", "text")
    address = cloud.client("s3").generate_presigned_url(
        "get_object", {"Bucket": cloud.aws.bucket, "Key": "secret.txt"}
    )
    with urllib.request.urlopen(address, timeout=60) as answer:
        assert answer.read() == b"text"


def test_the_other_services_answer_for_the_account(cloud):
    queue = cloud.client("sqs").create_queue(QueueName="q")["QueueUrl"]
    assert cloud.account in queue
    cloud.client("events").put_rule(Name="r", ScheduleExpression="rate(1 hour)")
    (rule,) = cloud.client("events").list_rules()["Rules"]
    assert rule["Arn"] == f"arn:aws:events:us-east-1:{cloud.account}:rule/r"


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/cbor"])
def test_the_type_of_what_is_sent_to_an_endpoint_is_not_the_protocol(cloud, kind):
    runtime = cloud.client("sagemaker-runtime")
    with pytest.raises(ClientError, match="Endpoint absent of account") as caught:
        runtime.invoke_endpoint(EndpointName="absent", ContentType=kind, Body=b"Action=Pass")
    assert caught.value.response["Error"]["Code"] == "ValidationError"


@pytest.mark.parametrize("header", [{"Origin": "https://example.org"}, {"Host": "example.org"}])
def test_a_web_page_is_refused(cloud, header):
    status, _, body = post(cloud.url, b"{}", X_Amz_Target="SageMaker.ListModels", **header)
    assert status == 403
    assert b"web pages" in body


def test_accounts_and_regions_live_apart(cloud, open_cloud, toy_tag, other_account):
    """The same names in three places; what is deleted in one is there in the others."""
    places = [cloud, open_cloud(cloud.account, "eu-west-1"), open_cloud(other_account)]
    name = f"same-{cloud.account}"
    for place in places:
        image = place.push(toy_tag)
        assert place.start(image, name=name) == name
        place.sagemaker.create_model(
            ModelName=name, PrimaryContainer={"Image": image}, ExecutionRoleArn=place.role
        )
        place.client("sqs").create_queue(QueueName=name)
        place.client("logs").create_log_group(logGroupName=name)
    arns = {place.finish(name)["TrainingJobArn"] for place in places}
    assert arns == {
        f"arn:aws:sagemaker:{place.region}:{place.account}:training-job/{name}" for place in places
    }
    cloud.sagemaker.delete_model(ModelName=name)
    cloud.client("logs").delete_log_group(logGroupName=name)
    for place in places[1:]:
        assert place.sagemaker.describe_model(ModelName=name)["ModelName"] == name
        groups = place.client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        assert [group["logGroupName"] for group in groups] == [name]
        assert f"{place.account}/{name}" in place.client("sqs").list_queues()["QueueUrls"][0]
