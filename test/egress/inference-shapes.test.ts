import test from "ava";
import { modelOf, shapeOf, withModel } from "../../lib/egress/inference-shapes.ts";

test("Another model takes the place of the one in a path, whatever that is called", (t) => {
  t.is(withModel("/model/m/invoke", "other:0"), "/model/other%3A0/invoke");
  t.is(withModel("/model/invoke/invoke", "$&"), "/model/%24%26/invoke");
  t.is(withModel("/model/model/converse-stream", "other"), "/model/other/converse-stream");
  t.is(modelOf("/model/arn%3Aaws%3Abedrock%3A%3A%3Amodel%2Fa/invoke"), "arn:aws:bedrock:::model/a");
});

test("A path whose encoding is broken asks no model", (t) => {
  t.is(shapeOf("POST", "/model/%zz/invoke", false), undefined);
  t.like(shapeOf("POST", "/model/%41/invoke", false), { family: "bedrock", modelIn: "path" });
});
