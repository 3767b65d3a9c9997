terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

provider "aws" {} # region, credentials and endpoint come from the environment

variable "name" { default = "terraform-example" }
variable "instances" { default = 1 }

data "aws_caller_identity" "this" {}

resource "aws_s3_bucket" "this" {
  bucket        = "${var.name}-${data.aws_caller_identity.this.account_id}"
  force_destroy = true
}

resource "aws_s3_object" "model" {
  bucket = aws_s3_bucket.this.id
  key    = "model.tar.gz"
  source = "${path.module}/model.tar.gz"
}

resource "aws_ecr_repository" "this" {
  name         = var.name
  force_delete = true
}

data "aws_ecr_image" "this" {
  repository_name = aws_ecr_repository.this.name
  image_tag       = "1"
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["sagemaker.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "this" {
  name               = var.name
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role_policy_attachment" "this" {
  role       = aws_iam_role.this.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
}

resource "aws_sagemaker_model" "this" {
  name               = var.name
  execution_role_arn = aws_iam_role.this.arn

  primary_container {
    image          = data.aws_ecr_image.this.image_uri
    model_data_url = "s3://${aws_s3_bucket.this.id}/${aws_s3_object.model.key}"
  }
}

resource "aws_sagemaker_endpoint_configuration" "this" {
  name_prefix = "${var.name}-"

  production_variants {
    variant_name           = "AllTraffic"
    model_name             = aws_sagemaker_model.this.name
    instance_type          = "ml.m5.large"
    initial_instance_count = var.instances
  }

  lifecycle { create_before_destroy = true }
}

resource "aws_sagemaker_endpoint" "this" {
  name                 = var.name
  endpoint_config_name = aws_sagemaker_endpoint_configuration.this.name
  tags                 = { project = var.name }
}
