//! The custom resources that this provider reads, those of aws-load-balancer-controller, as definitions for clusters that do not have them. Pure data.
//!
//! Fields, types and versions are the peer's, so that its objects apply unchanged. A cluster where the peer's own definitions are
//! installed keeps those: nothing depends on which of the two it is.

/// The CustomResourceDefinitions as YAML, sorted by name.
pub const CRDS: [&str; 2] =
    [include_str!("ingressclassparams.yaml"), include_str!("targetgroupbindings.yaml")];

#[cfg(test)]
mod tests {
    use causeway_api::ObjectRef;
    use serde_json::{Map, Value, json};

    use super::CRDS;
    use crate::alb::binding::TargetGroupBinding;
    use crate::alb::parameters::Parameters;

    fn spec_schema(crd: &str) -> Value {
        let crd: Value = serde_saphyr::from_str(crd).expect("YAML");
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"].clone()
    }

    /// A value of a schema that has every field.
    fn full(schema: &Value) -> Value {
        if let Some(word) = schema["enum"].get(0) {
            return word.clone();
        }
        match schema["type"].as_str() {
            Some("object") => {
                let mut out = Map::new();
                for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                    out.insert(name.clone(), full(field));
                }
                if let Some(more) = schema.get("additionalProperties") {
                    out.insert("key".to_owned(), full(more));
                }
                out.into()
            }
            Some("array") => json!([full(&schema["items"])]),
            Some("integer") => json!(1),
            Some("boolean") => json!(true),
            Some("string") | None => json!("1"),
            Some(other) => panic!("{other}"),
        }
    }

    #[test]
    fn the_parser_knows_every_field_of_the_definitions() {
        // Values may be wrong, fields are not: what serde does not know it names.
        let unknown = |why: &str| why.contains("unknown field");
        let spec = full(&spec_schema(CRDS[0]));
        assert!(spec.as_object().is_some_and(|s| s.len() >= 20), "{spec}");
        if let Err(problem) = Parameters::read("x", &spec) {
            assert!(!unknown(&problem.message), "{problem:?}");
        }
        let mut spec = full(&spec_schema(CRDS[1]));
        let object = ObjectRef::service("default", "x", "uid");
        for absent in ["targetGroupName", "iamRoleArnToAssume", "assumeRoleExternalId"] {
            spec.as_object_mut().expect("fields").remove(absent).expect("a field of the definition");
        }
        spec["targetGroupARN"] = json!("arn:x");
        spec["networking"]["ingress"][0]["from"] = json!([{"ipBlock": {"cidr": "10.0.0.0/8"}}]);
        TargetGroupBinding::read(&object, &spec).expect("right");
    }

    #[test]
    fn every_field_has_a_description() {
        fn check(path: &str, schema: &Value) {
            for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                assert!(field["description"].is_string(), "{path}");
                check(&path, field);
            }
            if schema.get("items").is_some() {
                check(&format!("{path}[]"), &schema["items"]);
            }
        }
        CRDS.iter().for_each(|crd| check("spec", &spec_schema(crd)));
    }
}
