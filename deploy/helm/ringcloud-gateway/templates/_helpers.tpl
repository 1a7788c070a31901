{{- define "ringcloud.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{- define "ringcloud.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "ringcloud.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ringcloud.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "ringcloud.selector" -}}
app.kubernetes.io/name: {{ include "ringcloud.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ringcloud.labels" -}}
{{ include "ringcloud.selector" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "ringcloud.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- define "ringcloud.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ .Values.serviceAccount.name | default (include "ringcloud.fullname" .) }}
{{- else -}}
{{ .Values.serviceAccount.name | default "default" }}
{{- end -}}
{{- end -}}

{{/* The components that are on, by name: what each is run with, its port, and where its values are. */}}
{{- define "ringcloud.components" -}}
{{- $all := dict
  "gateway" (dict "command" "poll" "port" 9464 "portName" "metrics")
  "streams" (dict "command" "streams" "port" 9465 "portName" "metrics")
  "api" (dict "command" "api" "port" 9466 "portName" "http") -}}
{{- $on := dict -}}
{{- range $name, $what := $all -}}
{{- if (index $.Values $name).enabled -}}
{{- $_ := set $on $name $what -}}
{{- end -}}
{{- end -}}
{{- toJson $on -}}
{{- end -}}

{{/* A component's configuration: the common one, what is its own, and where it listens. Takes root and name. */}}
{{- define "ringcloud.config" -}}
{{- $own := (index .root.Values .name).config | default dict -}}
{{- $config := mergeOverwrite (deepCopy .root.Values.config) (deepCopy $own) -}}
{{- $_ := set $config "metrics" (dict "gateway" ":9464" "streams" ":9465") -}}
{{- if eq .name "api" -}}
{{- $_ := set $config "api" (mergeOverwrite (deepCopy ($config.api | default dict)) (dict "listen" ":9466")) -}}
{{- end -}}
{{- include "ringcloud.toml" (dict "table" $config "path" "") -}}
{{- end -}}

{{/*
TOML of a map. Helm's own toToml writes the numbers of values as floats, 64.0, and a count is none; JSON has texts, numbers
and lists of them as TOML does. Times, which YAML hands on as texts, are told by where they stand.
*/}}
{{- define "ringcloud.toml" -}}
{{- $path := .path -}}
{{- range $key, $value := .table -}}
{{- if not (or (kindIs "map" $value) (kindIs "invalid" $value) (include "ringcloud.tables" $value)) }}
{{ include "ringcloud.key" $key }} = {{ include "ringcloud.value" (dict "key" $key "value" $value) }}
{{- end -}}
{{- end -}}
{{- range $key, $value := .table -}}
{{- $inner := include "ringcloud.key" $key -}}
{{- if $path }}{{ $inner = printf "%s.%s" $path $inner }}{{ end -}}
{{- if kindIs "map" $value }}

[{{ $inner }}]
{{- include "ringcloud.toml" (dict "table" $value "path" $inner) -}}
{{- else if include "ringcloud.tables" $value -}}
{{- range $one := $value }}

[[{{ $inner }}]]
{{- include "ringcloud.toml" (dict "table" $one "path" $inner) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Not empty for a list of maps alone. */}}
{{- define "ringcloud.tables" -}}
{{- if and (kindIs "slice" .) . -}}
{{- $maps := true -}}
{{- range . }}{{ if not (kindIs "map" .) }}{{ $maps = false }}{{ end }}{{ end -}}
{{- if $maps }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{- define "ringcloud.key" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toJson . }}{{ end -}}
{{- end -}}

{{- define "ringcloud.value" -}}
{{- if kindIs "slice" .value -}}
[{{ range $at, $one := .value }}{{ if $at }}, {{ end }}{{ include "ringcloud.value" (dict "key" "" "value" $one) }}{{ end }}]
{{- else if kindIs "map" .value -}}
{ {{- $first := true }}{{ range $key, $one := .value }}{{ if not $first }},{{ end }}{{ $first = false }} {{ include "ringcloud.key" $key }} = {{ include "ringcloud.value" (dict "key" $key "value" $one) }}{{ end }} }
{{- else if and (eq .key "expires_at") (kindIs "string" .value) -}}
{{ .value }}
{{- else if and (kindIs "float64" .value) (eq (floor .value) .value) -}}
{{ int64 .value }}
{{- else -}}
{{ toRawJson .value }}
{{- end -}}
{{- end -}}

{{/* The Secrets of a component, as a list. Takes root and name. */}}
{{- define "ringcloud.secrets" -}}
{{- $found := list -}}
{{- range $secret := .root.Values.secrets -}}
{{- if or (not $secret.for) (has $.name $secret.for) -}}
{{- $found = append $found (dict "name" $secret.name "as" ($secret.as | default $secret.name)) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* The pod of a component. Takes root, name, command and port (0: it doesn't listen). */}}
{{- define "ringcloud.pod" -}}
{{- $root := .root -}}
{{- $own := index $root.Values .name -}}
{{- $secrets := include "ringcloud.secrets" . | fromJsonArray -}}
serviceAccountName: {{ include "ringcloud.serviceAccount" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile:
    type: RuntimeDefault
containers:
  - name: {{ .name }}
    image: {{ include "ringcloud.image" $root }}
    imagePullPolicy: {{ $root.Values.image.pullPolicy }}
    args: [{{ .command }}, /etc/ringcloud-gateway/gateway.toml]
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities:
        drop: [ALL]
    {{- with $own.env }}
    env:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $own.envFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- if .port }}
    ports:
      - name: {{ .portName }}
        containerPort: {{ .port }}
    startupProbe:
      httpGet: {path: /livez, port: {{ .portName }}}
      periodSeconds: 2
      failureThreshold: 60
    livenessProbe:
      httpGet: {path: /livez, port: {{ .portName }}}
      periodSeconds: 10
      timeoutSeconds: 5
      failureThreshold: 6
    readinessProbe:
      httpGet: {path: /readyz, port: {{ .portName }}}
      periodSeconds: 5
      timeoutSeconds: 5
    {{- end }}
    resources:
      {{- toYaml $own.resources | nindent 6 }}
    volumeMounts:
      - name: config
        mountPath: /etc/ringcloud-gateway/gateway.toml
        subPath: gateway.toml
        readOnly: true
      - name: tmp
        mountPath: /tmp
      {{- range $secrets }}
      - name: secret-{{ .as }}
        mountPath: /etc/ringcloud-gateway/secrets/{{ .as }}
        readOnly: true
      {{- end }}
      {{- if $root.Values.kafkaToken.enabled }}
      - name: kafka-token
        mountPath: /var/run/secrets/ringcloud-gateway
        readOnly: true
      {{- end }}
volumes:
  - name: config
    configMap:
      name: {{ $root.Values.existingConfigMap | default (include "ringcloud.fullname" $root) }}
      items:
        - key: {{ ternary "gateway.toml" (printf "%s.toml" .name) (ne $root.Values.existingConfigMap "") }}
          path: gateway.toml
  - name: tmp
    emptyDir:
      sizeLimit: 64Mi
  {{- range $secrets }}
  - name: secret-{{ .as }}
    secret:
      secretName: {{ .name }}
  {{- end }}
  {{- if $root.Values.kafkaToken.enabled }}
  - name: kafka-token
    projected:
      sources:
        - serviceAccountToken:
            path: token
            audience: {{ $root.Values.kafkaToken.audience }}
            expirationSeconds: {{ int64 $root.Values.kafkaToken.expirationSeconds }}
  {{- end }}
{{- end -}}
