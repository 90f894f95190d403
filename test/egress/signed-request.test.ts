import test from "ava";
import { regionOf } from "../../lib/egress/signed-request.ts";

for (const [host, region] of [
  ["s3.eu-west-1.amazonaws.com", "eu-west-1"],
  ["bucket.s3.us-gov-west-1.amazonaws.com", "us-gov-west-1"],
  ["bucket.s3-eu-central-1.amazonaws.com", "eu-central-1"],
  ["s3.dualstack.ap-southeast-2.amazonaws.com", "ap-southeast-2"],
  ["bedrock-runtime.us-east-2.amazonaws.com", "us-east-2"],
  ["abc.execute-api.cn-north-1.amazonaws.com.cn", "cn-north-1"],
  ["search-x.eu-west-3.es.amazonaws.com", "eu-west-3"],
  ["x.lambda-url.us-west-2.on.aws", "us-west-2"],
  ["s3.us-west-1.api.aws", "us-west-1"],
  ["iam.amazonaws.com", "us-east-1"],
  ["eu-west-1.example.com", "us-east-1"],
] as const) {
  test(`A host of AWS's says its region: ${host}`, (t) => t.is(regionOf(host), region));
}
