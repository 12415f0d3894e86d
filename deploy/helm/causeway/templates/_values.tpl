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
{{- if ne .root.Values.config.namespace "metallb-system" }}{{ $args = append $args (printf "--config-namespace=%s" .root.Values.config.namespace) }}{{ end -}}
{{- if ne .root.Release.Namespace "kube-system" }}{{ $args = append $args (printf "--membership-secret=%s/causeway-membership" .root.Release.Namespace) }}{{ end -}}
{{- range .root.Values.loadBalancerClasses }}{{ $args = append $args (printf "--load-balancer-class=%s" .) }}{{ end -}}
{{- if kindIs "bool" .root.Values.ownClassless }}{{ $args = append $args (printf "--own-classless=%t" .root.Values.ownClassless) }}{{ end -}}
{{- $_ := set $container "args" (concat $args .values.args) -}}
{{- with .values.resources }}{{ $_ := set $container "resources" . }}{{ end -}}
{{- with .values.nodeSelector }}{{ $_ := set $pod "nodeSelector" (merge (deepCopy .) $pod.nodeSelector) }}{{ end -}}
{{- with .values.tolerations }}{{ $_ := set $pod "tolerations" . }}{{ end -}}
{{- with .values.affinity }}{{ $_ := set $pod "affinity" . }}{{ end -}}
{{- with .values.priorityClassName }}{{ $_ := set $pod "priorityClassName" . }}{{ end -}}
{{- $metadata := .object.spec.template.metadata -}}
{{- with .values.podAnnotations }}{{ $_ := set $metadata "annotations" (merge (deepCopy .) $metadata.annotations) }}{{ end -}}
{{- with .values.podLabels }}{{ $_ := set $metadata "labels" (merge $metadata.labels .) }}{{ end -}}
{{- end -}}
