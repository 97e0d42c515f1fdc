{{- define "oci-chartrepo.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "oci-chartrepo.fullname" -}}
{{- $name := include "oci-chartrepo.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $full | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "oci-chartrepo.selector" -}}
app.kubernetes.io/name: {{ include "oci-chartrepo.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "oci-chartrepo.labels" -}}
{{ include "oci-chartrepo.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "oci-chartrepo.image" -}}
{{- $repository := required "image.repository: where you pushed the image, such as registry.example.com/tools/oci-chartrepo" .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $repository .Values.image.digest }}
{{- else if .Values.image.tag }}
{{- printf "%s:%s" $repository .Values.image.tag }}
{{- else }}
{{- $repository }}
{{- end }}
{{- end }}

{{- define "oci-chartrepo.createsSecret" -}}
{{- if and .Values.registry.credentials.username .Values.registry.credentials.password }}true{{ end }}
{{- end }}

{{- define "oci-chartrepo.secret" -}}
{{- if include "oci-chartrepo.createsSecret" . }}
{{- include "oci-chartrepo.fullname" . }}-registry
{{- else }}
{{- .Values.registry.credentials.existingSecret }}
{{- end }}
{{- end }}

{{- define "oci-chartrepo.hasCa" -}}
{{- if and .Values.registry.ca.configMap .Values.registry.ca.secret }}
{{- fail "registry.ca: give configMap or secret, not both" }}
{{- end }}
{{- if or .Values.registry.ca.configMap .Values.registry.ca.secret }}true{{ end }}
{{- end }}

{{- /* The flags that say what is read, which `index` takes as well, one a line. */}}
{{- define "oci-chartrepo.reading" -}}
- --storage={{ .Values.storage }}
{{- with .Values.registry }}
{{- if eq $.Values.storage "registry" }}
{{- $address := required "registry.address: the registry, such as registry.example.com" .address }}
- {{ printf "--storage-registry-repo=%s%s" $address (empty .prefix | ternary "" (printf "/%s" .prefix)) | quote }}
{{- with .scheme }}
- --storage-registry-scheme={{ . }}
{{- end }}
{{- if include "oci-chartrepo.hasCa" $ }}
- --storage-registry-ca-file=/etc/registry-ca/ca.crt
{{- end }}
{{- if .clientCertificate.secret }}
- --storage-registry-cert-file=/etc/registry-client/tls.crt
- --storage-registry-key-file=/etc/registry-client/tls.key
{{- end }}
{{- if .insecureSkipTlsVerify }}
- --storage-registry-insecure-skip-tls-verify
{{- end }}
{{- range .repositories }}
- {{ printf "--repository=%s" . | quote }}
{{- end }}
{{- else if eq $.Values.storage "local" }}
- --storage-local-rootdir=/charts
{{- else }}
- --storage-layout-dir=/charts
{{- end }}
{{- with .concurrency }}
- --concurrency={{ . }}
{{- end }}
{{- end }}
{{- range .Values.filter.include }}
- {{ printf "--include=%s" . | quote }}
{{- end }}
{{- range .Values.filter.exclude }}
- {{ printf "--exclude=%s" . | quote }}
{{- end }}
{{- if .Values.filter.allTags }}
- --all-tags
{{- end }}
{{- if .Values.filter.anyName }}
- --any-name
{{- end }}
{{- with .Values.filter.maxVersions }}
- --max-versions={{ . }}
{{- end }}
{{- with .Values.index.format }}
- --index-format={{ . }}
{{- end }}
{{- with .Values.server.chartUrl }}
- {{ printf "--chart-url=%s" . | quote }}
{{- end }}
{{- with .Values.logLevel }}
- --log-level={{ . }}
{{- end }}
{{- with .Values.logFormat }}
- --log-format={{ . }}
{{- end }}
{{- end }}

{{- /* The flags that only serving needs. */}}
{{- define "oci-chartrepo.serving" -}}
- --port=8080
{{- with .Values.server.contextPath }}
- {{ printf "--context-path=%s" . | quote }}
{{- end }}
{{- with .Values.server.externalUrl }}
- {{ printf "--external-url=%s" . | quote }}
{{- end }}
{{- if .Values.server.trustForwarded }}
- --trust-forwarded
{{- end }}
{{- with .Values.server.idleTimeout }}
- --idle-timeout={{ . }}
{{- end }}
{{- with .Values.server.chartCacheSize }}
- --chart-cache-size={{ . }}
{{- end }}
{{- with .Values.server.shutdownGrace }}
- --shutdown-grace={{ . }}
{{- end }}
{{- if .Values.server.artifacthubRepo.configMap }}
- --artifacthub-repo-file=/etc/artifacthub/artifacthub-repo.yml
{{- end }}
{{- with .Values.server.corsAllowOrigin }}
- {{ printf "--cors-allow-origin=%s" . | quote }}
{{- end }}
{{- if .Values.logRequests }}
- --log-requests
{{- end }}
{{- with .Values.index.refreshInterval }}
- --refresh-interval={{ . }}
{{- end }}
{{- with .Values.index.maxStale }}
- --max-stale={{ . }}
{{- end }}
{{- with .Values.index.maxWait }}
- --max-wait={{ . }}
{{- end }}
{{- if .Values.mirror.enabled }}
{{- if ne .Values.storage "registry" }}
{{- fail "mirror.enabled goes with storage: registry" }}
{{- end }}
- --mirror-dir=/mirror/charts
{{- with .Values.mirror.mode }}
- --mirror={{ . }}
{{- end }}
{{- with .Values.mirror.size }}
- --mirror-size={{ . }}
{{- end }}
{{- end }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end }}

{{- define "oci-chartrepo.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Lets that group read the mounted secrets.
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "oci-chartrepo.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- /* What both the daemon and the test mount: each a directory, for subPath never sees a new password. */}}
{{- define "oci-chartrepo.mounts" -}}
{{- if ne .Values.storage "registry" }}
- name: charts
  mountPath: /charts
  readOnly: true
{{- else }}
{{- if include "oci-chartrepo.secret" . }}
- name: registry-secret
  mountPath: /etc/secret
  readOnly: true
{{- end }}
{{- if include "oci-chartrepo.hasCa" . }}
- name: registry-ca
  mountPath: /etc/registry-ca
  readOnly: true
{{- end }}
{{- if .Values.registry.clientCertificate.secret }}
- name: registry-client
  mountPath: /etc/registry-client
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{- define "oci-chartrepo.volumes" -}}
{{- if ne .Values.storage "registry" }}
{{- if not .Values.charts.volume }}
{{- fail "charts.volume: where the charts are, with storage: local or layout" }}
{{- end }}
- name: charts
  {{- toYaml .Values.charts.volume | nindent 2 }}
{{- else }}
{{- with include "oci-chartrepo.secret" . }}
- name: registry-secret
  secret:
    secretName: {{ . }}
    # Without the Secret the registry is asked without credentials.
    optional: true
    defaultMode: 0440
    items:
      - key: .dockerconfigjson
        path: dockerconfigjson
{{- end }}
{{- with .Values.registry.ca }}
{{- if include "oci-chartrepo.hasCa" $ }}
- name: registry-ca
  {{- if .configMap }}
  configMap:
    name: {{ .configMap }}
  {{- else }}
  secret:
    secretName: {{ .secret }}
  {{- end }}
    items:
      - key: {{ .key }}
        path: ca.crt
{{- end }}
{{- end }}
{{- with .Values.registry.clientCertificate.secret }}
- name: registry-client
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}
