{{/* What a workload of ours carries beyond its manifest: (dict "object" OBJECT "values" VALUES-OF-THE-WORKLOAD "args" FLAGS "root" $). Changes the object. */}}
{{- define "causeway.workload" -}}
{{- $pod := .object.spec.template.spec -}}
{{- $container := index $pod.containers 0 -}}
{{- $image := .root.Values.image -}}
{{- $_ := set $container "image" (printf "%s:%s" $image.repository ($image.tag | default .root.Chart.AppVersion)) -}}
{{- with $image.pullPolicy }}{{ $_ := set $container "imagePullPolicy" . }}{{ end -}}
{{- with $image.pullSecrets }}
{{- $secrets := list }}{{ range . }}{{ $secrets = append $secrets (dict "name" .) }}{{ end }}
{{- $_ := set $pod "imagePullSecrets" $secrets }}
{{- end -}}
{{- $args := concat $container.args .args -}}
{{- if eq .root.Values.provider "metal" -}}
{{- if ne .root.Values.config.namespace "metallb-system" }}{{ $args = append $args (printf "--config-namespace=%s" .root.Values.config.namespace) }}{{ end -}}
{{- if ne .root.Release.Namespace "kube-system" }}{{ $args = append $args (printf "--membership-secret=%s/causeway-membership" .root.Release.Namespace) }}{{ end -}}
{{- else if eq .root.Values.provider "openstack" -}}
{{- $openstack := .root.Values.openstack -}}
{{- $args = append $args (printf "--cloud-config=/etc/causeway/%s" $openstack.cloudConfig.key) -}}
{{- with $openstack.clusterName }}{{ $args = append $args (printf "--cluster-name=%s" .) }}{{ end -}}
{{- range $openstack.ingressControllers }}{{ $args = append $args (printf "--ingress-controller=%s" .) }}{{ end -}}
{{- else -}}
{{- $aws := .root.Values.aws -}}
{{- with $aws.clusterName }}{{ $args = append $args (printf "--cluster-name=%s" .) }}{{ end -}}
{{- with $aws.region }}{{ $args = append $args (printf "--aws-region=%s" .) }}{{ end -}}
{{- with $aws.vpcId }}{{ $args = append $args (printf "--aws-vpc-id=%s" .) }}{{ end -}}
{{- range $name, $value := $aws.options }}{{ $args = append $args (printf "--aws-option=%s=%v" $name $value) }}{{ end -}}
{{- range $aws.ingressControllers }}{{ $args = append $args (printf "--ingress-controller=%s" .) }}{{ end -}}
{{- end -}}
{{- range .root.Values.loadBalancerClasses }}{{ $args = append $args (printf "--load-balancer-class=%s" .) }}{{ end -}}
{{- if kindIs "bool" .root.Values.ownClassless }}{{ $args = append $args (printf "--own-classless=%t" .root.Values.ownClassless) }}{{ end -}}
{{- $_ := set $container "args" (concat $args .values.args) -}}
{{- with .values.env }}{{ $_ := set $container "env" (concat $container.env .) }}{{ end -}}
{{- with .values.resources }}{{ $_ := set $container "resources" . }}{{ end -}}
{{- with .values.nodeSelector }}{{ $_ := set $pod "nodeSelector" (merge (deepCopy .) $pod.nodeSelector) }}{{ end -}}
{{- with .values.tolerations }}{{ $_ := set $pod "tolerations" . }}{{ end -}}
{{- with .values.affinity }}{{ $_ := set $pod "affinity" . }}{{ end -}}
{{- with .values.priorityClassName }}{{ $_ := set $pod "priorityClassName" . }}{{ end -}}
{{- $metadata := .object.spec.template.metadata -}}
{{- with .values.podAnnotations }}{{ $_ := set $metadata "annotations" (merge (deepCopy .) $metadata.annotations) }}{{ end -}}
{{- with .values.podLabels }}{{ $_ := set $metadata "labels" (merge $metadata.labels .) }}{{ end -}}
{{- end -}}
