{{/* The backends that this version of flanneld has. */}}
{{- define "flannel.backends" -}}
vxlan host-gw udp
{{- end }}

{{/* Refuses what would render but not work. Renders nothing. */}}
{{- define "flannel.check" -}}
{{- $backends := splitList " " (include "flannel.backends" .) }}
{{- if not (has .Values.flannel.backend $backends) }}
{{- fail (printf "flannel.backend: %q is not supported by this version: use one of %s" .Values.flannel.backend (join ", " $backends)) }}
{{- end }}
{{- if not (or .Values.podCidr .Values.podCidrv6) }}
{{- fail "podCidr and podCidrv6 are both empty: give the cluster's pod network (kube-controller-manager's --cluster-cidr)" }}
{{- end }}
{{- if hasSuffix "flannel-io/flannel" .Values.flannel.image.repository }}
{{- fail (printf "flannel.image.repository: %s is Go flannel's image, which this chart cannot start: give the place of the flannel-ts image, and leave flannel.image.tag empty" .Values.flannel.image.repository) }}
{{- end }}
{{- if .Values.netpol.enabled }}
{{- fail "netpol.enabled: this chart does not run kube-network-policies; install it from its own manifests, then set netpol.enabled to false" }}
{{- end }}
{{- end }}

{{- define "flannel.image" -}}
{{ .Values.flannel.image.repository }}:{{ .Values.flannel.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* The rights of what only copies files. */}}
{{- define "flannel.installerSecurityContext" -}}
privileged: false
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{/* net-conf.json as a map. The zero values are those of values.yaml: flanneld's own defaults hold. */}}
{{- define "flannel.netConf" -}}
{{- $values := .Values.flannel }}
{{- $backend := dict "Type" $values.backend }}
{{- if has $values.backend (list "vxlan" "udp") }}
{{- with $values.backendPort }}{{ $_ := set $backend "Port" (int .) }}{{ end }}
{{- end }}
{{- if eq $values.backend "vxlan" }}
{{- with $values.vni }}{{ $_ := set $backend "VNI" (int .) }}{{ end }}
{{- with $values.mtu }}{{ $_ := set $backend "MTU" (int .) }}{{ end }}
{{- with $values.GBP }}{{ $_ := set $backend "GBP" . }}{{ end }}
{{- with $values.directRouting }}{{ $_ := set $backend "DirectRouting" . }}{{ end }}
{{- with $values.disableTxChecksum }}{{ $_ := set $backend "DisableTxChecksum" . }}{{ end }}
{{- end }}
{{- $config := dict "Backend" $backend "EnableNFTables" $values.enableNFTables }}
{{- if .Values.podCidr }}
{{- $_ := set $config "Network" .Values.podCidr }}
{{- else }}
{{- $_ := set $config "EnableIPv4" false }}
{{- end }}
{{- if .Values.podCidrv6 }}
{{- $_ := set $config "EnableIPv6" true }}
{{- $_ := set $config "IPv6Network" .Values.podCidrv6 }}
{{- end }}
{{- mustToPrettyJson $config }}
{{- end }}
